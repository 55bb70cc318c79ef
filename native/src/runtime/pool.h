// The threads that compute a step, and the barrier between its commands.
//
// A step is a few hundred commands of some microseconds each, so threads meet at a barrier that spins for about as
// long as a command takes. Only a long wait (another process has the core, or the step is over) goes to sleep in the
// kernel; with more threads than cores spinning would steal the core from the thread that is waited for, so then
// nobody spins. Between steps all threads but the caller sleep.
//
//     caller   ──run(job)──► job(0) ─ barrier ─ … ─┐
//     thread 1 ──asleep────► job(1) ─ barrier ─ … ─┼─► run returns
//     thread 2 ──asleep────► job(2) ─ barrier ─ … ─┘
//
// After fork() a child has none of its parent's threads; the pool notices by the process id and makes new ones.
#pragma once

#include <cstdint>
#include <functional>

namespace nearlight {

class Pool {
 public:
  explicit Pool(int n_threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int n_threads() const { return n_threads_; }

  // Call job(thread) once for each thread 0 … n_threads-1, the caller being thread 0; return when all have finished.
  // The job must not throw. Not to be called by two threads at once.
  void run(const std::function<void(int)>& job);

  // Inside a job: wait until every thread of the pool has come here.
  void barrier();

 private:
  struct State;
  void start();

  int n_threads_;
  State* state_ = nullptr;
};

}  // namespace nearlight
