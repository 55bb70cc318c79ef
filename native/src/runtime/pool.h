// The threads that compute a step, stage after stage.
//
// A step is a hundred stages of some microseconds to milliseconds, each cut into pieces that any thread may take. A
// stage begins when all pieces of the one before have finished; it does not wait for threads, so one that the operating
// system has put aside (another process wants the core, or there are more threads than cores) holds nobody up unless
// it is in the middle of a piece. It joins in again where the others are by then.
//
//     stage 1   pieces 0 1 2: caller        pieces 3 4 5: thread 1
//     stage 2   pieces 0 1 2 5 4: caller    piece 3: thread 1      it was held up elsewhere
//
// A stage's pieces are shared out in order, so that a thread reads memory from front to back, which is when memory is
// quick: a new place costs a microsecond or two. Whoever is through with its own takes the others' last ones.
//
// A thread without a piece spins for about as long as a short stage takes, then sleeps in the kernel; with more threads
// than cores spinning would steal the core from the thread that is waited for, so then nobody spins. After a run it spins
// for about half a millisecond, in which a generation's next step begins, before it sleeps.
//
// While it waits, a thread reads what it will have to read first of the next weights (Ahead), so that stages too short
// to keep memory busy, and the gaps between stages, cost a bandwidth-bound step less than their time. It reads and does
// not ask for lines to be fetched: processors drop such requests when they have too many.
//
// Each thread has processors of its own: the usable ones are divided into as many groups as there are threads. Left to
// itself a scheduler may keep two threads on one core for minutes while another idles, and halve the speed. The caller
// belongs to whoever called, so it is left where it is, and the thread whose group that is moves to another.
//
// Whoever waits for a long step may want to end it: the caller's thread asks now and then whether to go on, and if not,
// the pieces that are left are taken and not done.
//
// After fork() a child has none of its parent's threads; the pool notices by the process id and makes new ones.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "clock.h"

namespace nearlight {

// Memory that a thread will read from front to back.
struct Ahead {
  const std::byte* first = nullptr;
  size_t n_bytes = 0;
};

class Pool {
 public:
  explicit Pool(int n_threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int n_threads() const { return n_threads_; }

  // What is called for each piece of each stage, by thread 0 (the caller) … n_threads-1. It must not throw.
  using RunPiece = std::function<void(size_t stage, uint32_t piece, int thread)>;

  // Asked by the calling thread between two pieces, every `ask_every` of a run; true ends it. It must not throw.
  using Stop = std::function<bool()>;
  // 0: at a run's start and before each piece that this thread takes, so that tests need no clock.
  Clock::duration ask_every = std::chrono::milliseconds(50);

  // Run all stages, stage i having pieces[i] pieces (at least one); return whether all of them were done. If told,
  // ahead[i * n_threads + t] is what thread t has to read after stage i. Not to be called by two threads at once.
  bool run(const std::vector<uint32_t>& pieces, const RunPiece& run_piece, const Stop& stop = {},
           const std::vector<Ahead>& ahead = {});

  // Run one stage of n_threads pieces: job(piece).
  void run(const std::function<void(int)>& job);

 private:
  struct State;
  void start();

  int n_threads_;
  State* state_ = nullptr;
};

}  // namespace nearlight
