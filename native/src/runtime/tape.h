// A step recorded once and replayed: a list of commands that the threads walk together.
//
// While a forward is recorded, each op adds commands and hands back activations that are only places in the arena. A
// replay then runs no Python at all: every thread walks the same list, does its part of each command, and waits at a
// barrier only where the next command needs what another thread may still be working on.
//
//     barrier?  command            touches
//        -      embed              writes h            row-wise
//        -      rms_norm           h -> x              row-wise: a thread reads the rows it wrote itself
//        yes    prepare            x -> x as int8
//        yes    q_proj             x as int8 -> q
//        -      k_proj             x as int8 -> k      nothing written since the barrier is touched
//        yes    …
//
// Two commands conflict when they touch overlapping places and one of them writes. A conflict since the last barrier
// asks for another, unless both commands work row by row on the very same place: then each thread has the same rows
// in both (share.h) and meets only its own work. Source: the scoreboard of an out-of-order processor, as a list.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "arena.h"
#include "runtime.h"
#include "share.h"
#include "step.h"

namespace nearlight {

// What a command is given by the thread that runs its part of it.
struct Worker {
  int thread, n_threads;
  std::byte* arena;
  std::atomic<int64_t>* taken;

  // This thread's part of n pieces, the same in every command.
  Share share_of(int64_t n) const { return share(n, thread, n_threads); }
  // The next piece that no thread has taken yet; for pieces of unequal length. Counts up without end.
  int64_t take_next() const { return taken->fetch_add(1, std::memory_order_relaxed); }
};

// What a command touches. `space` tells memories apart: null is the arena, a KV store is named by its address.
struct Touch {
  Place place;
  bool writes;
  const void* space = nullptr;
};

inline Touch reads(Place place) { return {place, false}; }
inline Touch writes(Place place) { return {place, true}; }

struct Command {
  std::string name;  // the weight's or the op's, under which its time is reported
  std::vector<Touch> touches;
  int64_t n_rows;  // if thread t touches rows share(n_rows, t, n_threads) only, of every place; else 0
  std::function<void(const Worker&)> run;
};

struct CommandTime {
  std::string name;
  double seconds;
};

class Tape {
 public:
  Tape(std::shared_ptr<Runtime> runtime, int64_t n_rows, int64_t n_wanted);

  // -- recording --
  int64_t n_rows() const { return n_rows_; }
  int64_t n_wanted() const { return n_wanted_; }
  const std::shared_ptr<Runtime>& runtime() const { return runtime_; }
  const std::shared_ptr<Slots>& slots() const { return slots_; }
  const Step& step() const { return step_; }
  size_t add_frequencies();  // returns their index in step().frequencies
  void add(Command command);
  // Add something to verify before every run; it throws std::invalid_argument.
  void add_check(std::function<void(const Step&)> check) { checks_.push_back(std::move(check)); }

  // -- replaying --
  // Run the commands for these rows, then copy n_bytes at `result` out. Raises std::invalid_argument, with nothing
  // touched, for rows that do not fit the tables and stores.
  void run(Step step, Place result, void* out);

  void set_profiling(bool on);
  std::vector<CommandTime> profile() const;  // seconds of each command in all runs since profiling was set on
  size_t n_commands() const { return commands_.size(); }
  size_t n_barriers() const;
  size_t arena_bytes() const { return slots_->peak(); }

 private:
  struct Entry {
    Command command;
    bool barrier;
    double seconds = 0;
  };
  struct Recent {  // a touch since the last barrier
    Touch touch;
    int64_t n_rows;
  };
  bool conflicts(const Command& command) const;
  void walk(int thread, std::byte* arena);

  std::shared_ptr<Runtime> runtime_;
  int64_t n_rows_, n_wanted_;
  std::shared_ptr<Slots> slots_ = std::make_shared<Slots>();
  Step step_;
  std::vector<Entry> commands_;
  std::vector<Recent> recent_;
  std::vector<std::function<void(const Step&)>> checks_;
  std::unique_ptr<std::atomic<int64_t>[]> taken_;
  bool profiling_ = false;
};

}  // namespace nearlight
