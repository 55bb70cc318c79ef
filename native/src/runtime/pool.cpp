// See pool.h.
#include "pool.h"

#include <atomic>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace nearlight {
namespace {

using Counter = std::atomic<uint32_t>;

constexpr int kSpins = 1500;  // 15-60 us of pauses, by processor

void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Return once the counter is no longer `old`.
void wait_for_change(const Counter& counter, uint32_t old, int spins) {
  for (int i = 0; i < spins; ++i) {
    if (counter.load(std::memory_order_acquire) != old) return;
    pause_briefly();
  }
  counter.wait(old, std::memory_order_acquire);
}

long process_id() {
#if defined(__unix__) || defined(__APPLE__)
  return static_cast<long>(getpid());
#else
  return 0;
#endif
}

int n_usable_cpus() {
#if defined(__linux__)
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) return CPU_COUNT(&cpus);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

struct Pool::State {
  alignas(64) Counter step{0};        // counts steps; changing it starts one
  alignas(64) Counter arrived{0};     // threads waiting at the barrier
  alignas(64) Counter generation{0};  // counts barriers passed
  const std::function<void(int)>* job = nullptr;  // null: go home
  int n_threads;
  int spins;
  long owner = process_id();
  std::vector<std::thread> threads;

  explicit State(int n) : n_threads(n), spins(n <= n_usable_cpus() ? kSpins : 0) {}

  void launch(const std::function<void(int)>* next) {
    job = next;
    step.fetch_add(1, std::memory_order_release);
    step.notify_all();
  }

  void barrier() {
    const uint32_t old = generation.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(n_threads)) {
      arrived.store(0, std::memory_order_relaxed);
      generation.fetch_add(1, std::memory_order_release);
      generation.notify_all();
    } else {
      wait_for_change(generation, old, spins);
    }
  }

  void work(int thread) {
    for (uint32_t seen = 0;;) {
      wait_for_change(step, seen, spins);
      ++seen;
      if (!job) return;
      (*job)(thread);
      barrier();
    }
  }

  void stop() {
    launch(nullptr);
    for (auto& thread : threads) thread.join();
  }
};

Pool::Pool(int n_threads) : n_threads_(n_threads) { start(); }

void Pool::start() {
  auto* state = new State(n_threads_);
  state->threads.reserve(static_cast<size_t>(n_threads_ - 1));
  try {
    for (int i = 1; i < n_threads_; ++i) state->threads.emplace_back([state, i] { state->work(i); });
  } catch (...) {
    state->stop();
    delete state;
    throw;
  }
  state_ = state;
}

Pool::~Pool() {
  // In a forked child the threads do not exist: there is nothing to join, and their handles are left alone.
  if (state_->owner != process_id()) return;
  state_->stop();
  delete state_;
}

void Pool::run(const std::function<void(int)>& job) {
  if (state_->owner != process_id()) start();
  if (n_threads_ == 1) return job(0);
  state_->launch(&job);
  job(0);
  state_->barrier();
}

void Pool::barrier() {
  if (n_threads_ > 1) state_->barrier();
}

}  // namespace nearlight
