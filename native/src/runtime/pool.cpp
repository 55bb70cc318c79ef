// See pool.h.
#include "pool.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "share.h"

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif
#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace nearlight {
namespace {

// Pauses, of 10 to 40 ns by processor: during a run, and after it, since the next token's usually follows soon, and to
// be woken takes a thread 60 us.
constexpr int kSpins = 1500, kSpinsAfter = 20000;

constexpr size_t kLine = 64;
constexpr size_t kAheadBytes = size_t{384} << 10;  // for a thread: it has to stay in its second cache

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

// Decides when a run's caller is to be asked whether to go on: as the clock is read before each piece, and those of a
// decode step take some microseconds, by the clock that is quick to read.
class Asking {
 public:
  Asking(const Pool::Stop& stop, Clock::duration every) : stop_(stop), every_(every), next_(Clock::now_about() + every) {}

  bool stops() {
    if (!stop_ || Clock::now_about() < next_) return false;
    const bool stop = stop_();
    next_ = Clock::now_about() + every_;
    return stop;
  }

 private:
  const Pool::Stop& stop_;
  Clock::duration every_;
  Clock::time_point next_;
};

}  // namespace

struct Pool::State {
  // What nobody has taken of a thread's pieces: the stage's number, first and end, counted from the first it was given.
  // A piece is taken by changing this word, which fails if the stage is over: so a thread that was held up can never
  // take a piece of a later stage or run by mistake. (Numbers wrap, but not while somebody is held up.)
  struct alignas(64) Seat {
    static constexpr int kBits = 20;
    static constexpr uint64_t kMask = (uint64_t{1} << kBits) - 1;

    std::atomic<uint64_t> word{0};
    std::atomic<bool> reading{false};  // what is ahead, so that it must not be freed

    static uint64_t pack(uint32_t stage, uint64_t first, uint64_t end) {
      return uint64_t{stage} << 2 * kBits | first << kBits | end;
    }

    // Take the first piece, or the last; -1 if none is left.
    int64_t take(uint32_t stage, bool last) {
      uint64_t seen = word.load(std::memory_order_acquire);
      for (;;) {
        const uint64_t first = seen >> kBits & kMask, end = seen & kMask;
        if (seen >> 2 * kBits != (stage & kStages) || first == end) return -1;
        const uint64_t rest = last ? pack(stage, first, end - 1) : pack(stage, first + 1, end);
        if (word.compare_exchange_weak(seen, rest, std::memory_order_acq_rel, std::memory_order_acquire)) {
          return static_cast<int64_t>(last ? end - 1 : first);
        }
      }
    }
    static constexpr uint32_t kStages = (uint32_t{1} << (64 - 2 * kBits)) - 1;
  };

  alignas(64) std::atomic<uint32_t> number{0};      // of the current stage; they are numbered through all runs, and wrap
  alignas(64) std::atomic<uint32_t> unfinished{0};  // pieces of the current stage
  alignas(64) std::atomic<uint32_t> changes{0};     // counts up with every stage; what sleepers watch
  std::atomic<bool> stopping{false};
  std::vector<Seat> seats;  // of each thread

  // The current run. Only whoever holds a piece may look, or reads while there is something ahead: a run does not end
  // before.
  std::atomic<const std::vector<Ahead>*> ahead{nullptr};
  const std::vector<uint32_t>* pieces = nullptr;
  const RunPiece* run_piece = nullptr;
  uint32_t first = 0;  // number of its first stage
  Asking* asking = nullptr;  // used by the caller only
  std::atomic<bool> stopped{false};  // if the rest of its pieces is not to be done

  Places places;
  int spins;
  long owner = process_id();
  std::vector<std::thread> threads;

  explicit State(int n_threads)
      : seats(static_cast<size_t>(n_threads)), places(static_cast<size_t>(n_threads)),
        spins(n_threads <= n_processors() ? kSpins : 0) {}

  int64_t n_threads() const { return static_cast<int64_t>(seats.size()); }

  // Make `stage` of the current run the current one; the one after the last has no pieces.
  void begin(size_t stage) {
    const uint32_t n = stage < pieces->size() ? (*pieces)[stage] : 0;
    const uint32_t next = first + static_cast<uint32_t>(stage);
    unfinished.store(n, std::memory_order_relaxed);
    for (int64_t thread = 0; thread < n_threads(); ++thread) {
      const auto size = static_cast<uint64_t>(share(n, thread, n_threads()).size());
      if (size > 0) seats[static_cast<size_t>(thread)].word.store(Seat::pack(next, 0, size), std::memory_order_release);
    }
    number.store(next);
    changes.fetch_add(1, std::memory_order_release);
    changes.notify_all();
  }

  void finish(uint32_t stage_number, uint32_t n) {
    if (n > 0 && unfinished.fetch_sub(n, std::memory_order_acq_rel) == n) begin(stage_number - first + 1);
  }

  // Do pieces of this stage until none is left to take: first one's own from front to back, then others' last ones.
  void take_part(uint32_t stage_number, int thread) {
    uint32_t n_done = 0;
    for (int64_t i = 0; i < n_threads(); ++i) {
      const int64_t from = (thread + i) % n_threads();
      Seat& seat = seats[static_cast<size_t>(from)];
      for (int64_t piece; (piece = seat.take(stage_number, i > 0)) >= 0; ++n_done) {
        if (stopped.load(std::memory_order_relaxed)) continue;
        if (thread == 0 && asking->stops()) {
          stopped.store(true, std::memory_order_relaxed);
          continue;
        }
        const size_t stage = stage_number - first;
        piece += share((*pieces)[stage], from, n_threads()).begin;
        (*run_piece)(stage, static_cast<uint32_t>(piece), thread);
      }
      finish(stage_number, std::exchange(n_done, 0));
    }
  }

  // Read a little of what this thread will have to read next, until the current stage is no longer this one.
  void read_ahead(uint32_t stage_number, int thread) {
    std::atomic<bool>& reading = seats[static_cast<size_t>(thread)].reading;
    reading.store(true);  // and only then look: the run may be over
    if (const std::vector<Ahead>* all = ahead.load()) {
      const size_t i = (stage_number - first) * seats.size() + static_cast<size_t>(thread);
      const Ahead next = i < all->size() ? (*all)[i] : Ahead{};
      const size_t n_bytes = std::min(next.n_bytes, kAheadBytes);
      for (size_t at = 0; at + kLine < n_bytes && number.load(std::memory_order_acquire) == stage_number; at += kLine) {
        static_cast<void>(*reinterpret_cast<const volatile std::byte*>(next.first + at));
      }
    }
    reading.store(false, std::memory_order_release);
  }

  // Return once the current stage is no longer this one.
  void wait_past(uint32_t stage_number, int thread) {
    if (spins > 0) read_ahead(stage_number, thread);
    const int n = spins > 0 && !ahead.load(std::memory_order_relaxed) ? kSpinsAfter : spins;
    for (int i = 0; i < n; ++i) {
      if (number.load(std::memory_order_acquire) != stage_number) return;
      pause_briefly();
    }
    for (;;) {
      const uint32_t seen = changes.load(std::memory_order_acquire);
      if (number.load(std::memory_order_acquire) != stage_number) return;
      changes.wait(seen, std::memory_order_acquire);
    }
  }

  void work(int thread) {
    for (uint32_t current = 0;;) {
      wait_past(current, thread);
      if (stopping.load(std::memory_order_acquire)) return;
      current = number.load(std::memory_order_acquire);
      take_part(current, thread);
    }
  }

  bool run(const std::vector<uint32_t>& all_pieces, const RunPiece& run, const Stop& stop,
           const std::vector<Ahead>& all_ahead, Clock::duration ask_every) {
    Asking of_this_run(stop, ask_every);
    if (of_this_run.stops()) return false;
    places.keep_clear(threads);
    pieces = &all_pieces;
    run_piece = &run;
    asking = &of_this_run;
    stopped.store(false, std::memory_order_relaxed);
    first = number.load(std::memory_order_relaxed) + 1;
    const uint32_t end = first + static_cast<uint32_t>(all_pieces.size());
    ahead.store(&all_ahead);
    begin(0);
    for (uint32_t current = first; current != end; current = number.load(std::memory_order_acquire)) {
      take_part(current, 0);
      wait_past(current, 0);
    }
    ahead.store(nullptr);
    for (const Seat& seat : seats) {
      while (seat.reading.load()) pause_briefly();
    }
    return !stopped.load(std::memory_order_relaxed);
  }

  void stop() {
    stopping.store(true, std::memory_order_release);
    static const std::vector<uint32_t> nothing;
    static const RunPiece never;
    run(nothing, never, {}, {}, {});
    for (auto& thread : threads) thread.join();
  }
};

Pool::Pool(int n_threads) : n_threads_(n_threads) {
  pace();  // may throw, which threads must not
  start();
}

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
  if (n_threads_ > 1) return state_->run(pieces, run_piece, stop, ahead, ask_every);
  Asking asking(stop, ask_every);
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
  run(pieces, [&job](size_t, uint32_t piece, int) {
    const Paced paced;
    job(static_cast<int>(piece));
  });
}

}  // namespace nearlight
