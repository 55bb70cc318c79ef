// A step recorded once and replayed: a list of commands in stages that the threads work through.
//
// A tape holds for steps of up to a number of rows. How a command is cut into pieces, and where activations lie, is
// decided for the most rows there may be; what a piece computes follows the rows there are.
//
// While a forward is recorded, each op adds commands and hands back activations that are only places in the arena. A
// replay then runs no Python at all. Commands that do not need each other's results share a stage; within a stage
// pieces may run in any order, and a stage begins when the one before is complete (pool.h):
//
//     stage   command            touches
//       1     embed              writes h            row-wise
//             rms_norm           h -> x              row-wise: a piece reads the rows it wrote itself
//       2     quantize           x -> x as int8
//       3     q_proj             x as int8 -> q
//             k_proj             x as int8 -> k      touches nothing that q_proj writes
//       4     …
//
// Two commands conflict when they touch overlapping places and one of them writes. A command that conflicts with one of
// the current stage begins another, unless both work row by row on the very same place: row-wise commands of a stage
// are cut into the same pieces and done piece by piece, one command after the other (a single piece is in order whatever
// they touch). A single row is cut into equal parts in the same way: what a key head needs, from its part of q_proj to
// its attention, is one piece, and so are a part of gate_proj, of up_proj, and what becomes of them:
//
//     1 | norm, quantize   2 | q, k, v, norms, ropes, append, attend, quantize   3 | o, add
//     4 | norm, quantize   5 | gate, up, swiglu, quantize                        6 | down, add
//
// Source: the scoreboard of an out-of-order processor, as a list.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arena.h"
#include "runtime.h"
#include "schedule.h"
#include "share.h"
#include "step.h"

namespace nearlight {

// Pieces of a command for each thread: enough that a thread which is held up leaves its rest to the others.
constexpr int64_t kPiecesPerThread = 8;
// Parts that a single row is cut into, if there are not more threads.
constexpr int64_t kRowParts = 8;
// Rows of a step that may take so long that one thread by itself does it in pieces too: it can be stopped after each.
constexpr int64_t kLongStep = 64;

// What a command is given by the thread that does a piece of it.
struct Worker {
  int thread;
  std::byte* arena;
};

// What a command touches. `space` tells memories apart: null is the arena, a KV store is named by its address.
struct Touch {
  Place place;
  bool writes;
  const void* space = nullptr;
  bool interleaved = false;  // rows do not lie one after the other; or every piece touches all parts of a single one
};

inline Touch reads(Place place) { return {place, false}; }
inline Touch writes(Place place) { return {place, true}; }

// Where a command writes: in the arena or, if it is a step's last and its result, right where the caller wants that.
struct Target {
  Place place;
  float* outside = nullptr;

  float* in(std::byte* arena) const { return outside ? outside : place.in<float>(arena); }
};

struct Command {
  std::string name;  // the weight's or the op's, under which its time is reported
  std::vector<Touch> touches;
  RowCount rows;     // if piece i touches share(rows, i, n_pieces) only, of every place; else none. Or equal parts of one
                     // row, then as many as pieces
  int64_t n_pieces;  // for row-wise commands Tape::row_pieces(rows), or Tape::row_parts()
  std::function<void(const Worker&, int64_t piece)> run;
  Ahead streams{};   // weights that it reads from front to back, an equal share in each piece
  std::shared_ptr<Target> target{};  // if it can write elsewhere
};

struct CommandTime {
  std::string name;
  double seconds;
};

class Tape {
 public:
  // Raises std::invalid_argument for less than one row.
  Tape(std::shared_ptr<Runtime> runtime, int64_t most_rows, int64_t most_logit_rows);
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // -- recording --
  RowCount rows() const { return rows_; }
  RowCount logit_rows() const { return logit_rows_; }
  const std::shared_ptr<Runtime>& runtime() const { return runtime_; }
  const std::shared_ptr<Slots>& slots() const { return slots_; }
  const Step& step() const { return step_; }
  // A place for commands to work in that no activation ever overlaps: the same for all that ask for as many bytes.
  Place workplace(size_t n_bytes);
  size_t add_frequencies();  // returns their index in step().frequencies
  void add(Command command);
  // Pieces to cut n units of work into, and rows.
  int64_t pieces(int64_t n) const;
  int64_t row_pieces(RowCount rows) const { return pieces(rows.most); }
  // Equal parts to cut n units (heads, tiles) of a step's single row into: the same number for most n; 1 of more rows.
  int64_t row_parts(int64_t n) const;
  // How attention cuts the rows of every step, into tiles of so many at most; the same for all that ask for the same.
  const AttendSchedule& schedule(int64_t most_rows, Window window, bool of_logits);
  // Have the fields of the logit rows made ready before every run: the forward goes on with these alone.
  void use_logit_rows() { uses_logit_rows_ = true; }
  // Add what is done before every run: it verifies the step, raising std::invalid_argument, or makes something ready.
  void before_run(std::function<void(const Step&)> hook) { before_run_.push_back(std::move(hook)); }

  // -- replaying --
  // Run the commands for these rows, then copy the first n_bytes of `result` out; or return false if `stop` ended it
  // (pool.h). Raises std::invalid_argument, with nothing touched, for rows that do not fit the tables and stores.
  bool run(Step step, Place result, size_t n_bytes, void* out, const Pool::Stop& stop = {});

  void set_profiling(bool on);
  // Seconds in each command and seconds without work, both as averages over the threads, so that they add up to the
  // time of all runs since profiling was set on.
  std::vector<CommandTime> profile() const;
  double waited_seconds() const;
  size_t n_commands() const { return commands_.size(); }
  size_t n_stages() const { return stages_.size(); }
  // The names of each stage's commands.
  std::vector<std::vector<std::string>> stages() const;
  size_t arena_bytes() const { return slots_->peak(); }

 private:
  struct Entry {
    Command command;
    std::unique_ptr<std::atomic<int64_t>> busy_ns = std::make_unique<std::atomic<int64_t>>(0);  // of all threads
  };
  // Commands done together piece by piece: one, or the row-wise ones of a stage over as many rows.
  struct Group {
    RowCount rows;
    uint32_t n_pieces;
    std::vector<size_t> commands;
  };
  using Stage = std::vector<Group>;

  bool conflicts(const Command& command) const;
  void look_ahead();
  Ahead streams(const Stage& stage, Share pieces) const;
  void run_piece(size_t stage, uint32_t piece, const Worker& worker);

  std::shared_ptr<Runtime> runtime_;
  RowCount rows_, logit_rows_;
  std::shared_ptr<Slots> slots_ = std::make_shared<Slots>();
  std::map<size_t, Slot> workplaces_;  // by their bytes
  // By the most rows of a tile, the window, and whether they are logit rows.
  std::map<std::tuple<int64_t, Window, bool>, AttendSchedule> schedules_;
  Step step_;
  std::vector<Entry> commands_;
  std::vector<Stage> stages_;
  std::vector<uint32_t> stage_pieces_;
  std::vector<Ahead> stage_ahead_;  // for each stage and thread, the weights that it reads first after that stage
  std::vector<std::function<void(const Step&)>> before_run_;
  bool uses_logit_rows_ = false, profiling_ = false;
  double ran_s_ = 0;  // while profiling
};

}  // namespace nearlight
