// See pool.h.
#include "pool.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif
#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#include <time.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace nearlight {
namespace {

constexpr int kSpins = 1500;  // 15-60 us of pauses, by processor

constexpr size_t kLine = 64, kLinesAtOnce = 8;
constexpr size_t kAheadBytes = size_t{64} << 10;  // for a thread: what memory gives it in two microseconds

void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

long process_id() {
#if defined(__unix__) || defined(__APPLE__)
  return static_cast<long>(getpid());
#else
  return 0;
#endif
}

// The processors this process may use; none where the system does not say.
std::vector<int> usable_cpus() {
  std::vector<int> usable;
#if defined(__linux__)
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &cpus)) usable.push_back(cpu);
    }
  }
#endif
  return usable;
}

int n_processors() {
  const size_t known = usable_cpus().size();
  return static_cast<int>(known > 0 ? known : std::thread::hardware_concurrency());
}

// Divides the usable processors among the threads, in groups, and keeps the groups of all but the caller away from it.
class Places {
 public:
  // Group i is thread i's; with more threads than processors there are none, and threads go where they may.
  explicit Places(size_t n_threads) : cpus_(usable_cpus()), group_of_(n_threads) {
    if (cpus_.size() < n_threads) cpus_.clear();
    for (size_t i = 0; i < n_threads; ++i) group_of_[i] = i;
  }

  bool enough() const { return !cpus_.empty(); }

  // To be called by the caller before a run, threads[i-1] being thread i.
  void keep_clear(std::vector<std::thread>& threads) {
#if defined(__linux__)
    if (!enough()) return;
    const int here = sched_getcpu();
    if (here == last_) return;
    last_ = here;
    for (size_t i = 1; i < group_of_.size(); ++i) {
      if (!holds(group_of_[i], here)) continue;
      std::swap(group_of_[0], group_of_[i]);
      put(threads[i - 1], group_of_[i]);
    }
#else
    static_cast<void>(threads);
#endif
  }

  void put_all(std::vector<std::thread>& threads) {
    for (size_t i = 1; enough() && i < group_of_.size(); ++i) put(threads[i - 1], group_of_[i]);
  }

 private:
  size_t begin(size_t group) const { return cpus_.size() * group / group_of_.size(); }
  bool holds(size_t group, int cpu) const {
    const auto from = cpus_.begin() + static_cast<std::ptrdiff_t>(begin(group));
    const auto to = cpus_.begin() + static_cast<std::ptrdiff_t>(begin(group + 1));
    return std::find(from, to, cpu) != to;
  }

  void put(std::thread& thread, size_t group) const {
#if defined(__linux__)
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    for (size_t i = begin(group); i < begin(group + 1); ++i) CPU_SET(cpus_[i], &cpus);
    pthread_setaffinity_np(thread.native_handle(), sizeof cpus, &cpus);  // if it fails, the scheduler decides
#else
    static_cast<void>(thread), static_cast<void>(group);
#endif
  }

  std::vector<int> cpus_;
  std::vector<size_t> group_of_;  // of each thread
  int last_ = -1;                 // where the caller was
};

// Decides when a run's caller is to be asked whether to go on. The clock is one that takes 5 ns to read, and not 30 as
// the exact one: it is read before each piece, and those of a decode step take some microseconds.
class Asking {
 public:
  explicit Asking(const Pool::Stop& stop) : stop_(stop), next_(now() + Pool::kAskEvery) {}

  bool stops() {
    if (!stop_ || now() < next_) return false;
    const bool stop = stop_();
    next_ = now() + Pool::kAskEvery;
    return stop;
  }

 private:
  using Time = std::chrono::nanoseconds;
  static Time now() {
#if defined(__linux__)
    timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return std::chrono::seconds(t.tv_sec) + Time(t.tv_nsec);
#else
    return std::chrono::steady_clock::now().time_since_epoch();
#endif
  }

  const Pool::Stop& stop_;
  Time next_;
};

}  // namespace

struct Pool::State {
  // The current stage's number in the high half (stages are numbered through all runs, and wrap), and in the low half
  // how many of its pieces nobody has taken. A piece is taken by counting it down, which fails if the stage is over: so
  // a thread that was held up can never take a piece of a later stage or run by mistake.
  alignas(64) std::atomic<uint64_t> tickets{0};
  alignas(64) std::atomic<uint32_t> unfinished{0};  // pieces of the current stage
  alignas(64) std::atomic<uint32_t> changes{0};     // counts up with every stage; what sleepers watch
  std::atomic<bool> stopping{false};
  std::atomic<const std::byte*> ahead_first{nullptr};  // of the current stage, for threads that wait
  std::atomic<size_t> ahead_stride{0};

  // The current run. Only whoever holds a piece may look: a run does not end while one is held.
  const std::vector<uint32_t>* pieces = nullptr;
  const std::vector<Ahead>* ahead = nullptr;
  const RunPiece* run_piece = nullptr;
  uint32_t first = 0;  // number of its first stage
  Asking* asking = nullptr;  // used by the caller only
  std::atomic<bool> stopped{false};  // if the rest of its pieces is not to be done

  Places places;
  int spins;
  long owner = process_id();
  std::vector<std::thread> threads;

  explicit State(int n_threads)
      : places(static_cast<size_t>(n_threads)), spins(n_threads <= n_processors() ? kSpins : 0) {}

  static uint32_t number_of(uint64_t t) { return static_cast<uint32_t>(t >> 32); }
  static uint32_t left(uint64_t t) { return static_cast<uint32_t>(t); }
  uint32_t number() const { return number_of(tickets.load(std::memory_order_acquire)); }

  // Make `stage` of the current run the current one; the one after the last has no pieces.
  void begin(size_t stage) {
    const uint32_t n = stage < pieces->size() ? (*pieces)[stage] : 0;
    const uint64_t next = first + static_cast<uint32_t>(stage);
    unfinished.store(n, std::memory_order_relaxed);
    const Ahead then = n > 0 && stage < ahead->size() ? (*ahead)[stage] : Ahead{};
    ahead_first.store(then.first, std::memory_order_relaxed);
    ahead_stride.store(then.stride, std::memory_order_relaxed);
    tickets.store((next & 0xffffffff) << 32 | n, std::memory_order_release);
    changes.fetch_add(1, std::memory_order_release);
    changes.notify_all();
  }

  // Do pieces of this stage until none is left to take.
  void take_part(uint32_t stage_number, int thread) {
    uint64_t t = tickets.load(std::memory_order_acquire);
    while (number_of(t) == stage_number && left(t) > 0) {
      if (!tickets.compare_exchange_weak(t, t - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      const size_t stage = stage_number - first;
      if (thread == 0 && asking->stops()) stopped.store(true, std::memory_order_relaxed);
      if (!stopped.load(std::memory_order_relaxed)) (*run_piece)(stage, (*pieces)[stage] - left(t), thread);
      if (unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1) begin(stage + 1);
      t = tickets.load(std::memory_order_acquire);
    }
  }

  // Ask for a little of what thread `thread` may have to read next; false when enough has been asked for.
  bool read_ahead(int thread, size_t& done) const {
    const std::byte* from = ahead_first.load(std::memory_order_relaxed);
    if (from == nullptr || done >= kAheadBytes) return false;
    from += static_cast<size_t>(thread) * ahead_stride.load(std::memory_order_relaxed) + done;
    for (size_t i = 0; i < kLinesAtOnce; ++i) __builtin_prefetch(from + i * kLine, 0, 2);
    done += kLinesAtOnce * kLine;
    return true;
  }

  // Return once the current stage is no longer this one.
  void wait_past(uint32_t stage_number, int thread) {
    size_t done = 0;
    for (int i = 0; i < spins; ++i) {
      if (number() != stage_number) return;
      if (!read_ahead(thread, done)) pause_briefly();
    }
    for (;;) {
      const uint32_t seen = changes.load(std::memory_order_acquire);
      if (number() != stage_number) return;
      changes.wait(seen, std::memory_order_acquire);
    }
  }

  void work(int thread) {
    for (uint32_t current = 0;;) {
      wait_past(current, thread);
      if (stopping.load(std::memory_order_acquire)) return;
      current = number();
      take_part(current, thread);
    }
  }

  bool run(const std::vector<uint32_t>& all_pieces, const RunPiece& run, const Stop& stop,
           const std::vector<Ahead>& all_ahead) {
    Asking of_this_run(stop);
    places.keep_clear(threads);
    pieces = &all_pieces;
    ahead = &all_ahead;
    run_piece = &run;
    asking = &of_this_run;
    stopped.store(false, std::memory_order_relaxed);
    first = number() + 1;
    const uint32_t end = first + static_cast<uint32_t>(all_pieces.size());
    begin(0);
    for (uint32_t current = first; current != end; current = number()) {
      take_part(current, 0);
      wait_past(current, 0);
    }
    return !stopped.load(std::memory_order_relaxed);
  }

  void stop() {
    stopping.store(true, std::memory_order_release);
    static const std::vector<uint32_t> nothing;
    static const RunPiece never;
    run(nothing, never, {}, {});
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
  state->places.put_all(state->threads);
  state_ = state;
}

Pool::~Pool() {
  // In a forked child the threads do not exist: there is nothing to join, and their handles are left alone.
  if (state_->owner != process_id()) return;
  state_->stop();
  delete state_;
}

bool Pool::run(const std::vector<uint32_t>& pieces, const RunPiece& run_piece, const Stop& stop,
               const std::vector<Ahead>& ahead) {
  if (state_->owner != process_id()) start();
  if (n_threads_ > 1) return state_->run(pieces, run_piece, stop, ahead);
  Asking asking(stop);
  for (size_t stage = 0; stage < pieces.size(); ++stage) {
    for (uint32_t piece = 0; piece < pieces[stage]; ++piece) {
      if (asking.stops()) return false;
      run_piece(stage, piece, 0);
    }
  }
  return true;
}

void Pool::run(const std::function<void(int)>& job) {
  const std::vector<uint32_t> pieces{static_cast<uint32_t>(n_threads_)};
  run(pieces, [&job](size_t, uint32_t piece, int) { job(static_cast<int>(piece)); });
}

}  // namespace nearlight
