// See probe.h.
#include "probe.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stdexcept>

#include "../level.h"
#include "../runtime/clock.h"
#include "../runtime/memory.h"
#include "../runtime/pool.h"
#include "../runtime/share.h"

namespace nearlight {
namespace {

constexpr double kWindowSeconds = 0.002;  // a thousand times what starting and ending it takes
constexpr int kLeastWindows = 3;          // the first warms up
constexpr double kBetter = 0.99;          // of the best window: a better one
constexpr double kMostPatience = 8;       // times `seconds`

// Run windows until `seconds` have brought no better one, and return the shortest. So a quiet machine is done soon, and
// one where two threads were put on the same core is given time to part them.
double best_window(double seconds, const std::function<void()>& window) {
  const auto start = Clock::now();
  auto before = start, improved = start;
  const auto passed = [&](Clock::time_point since) { return std::chrono::duration<double>(before - since).count(); };
  double best_s = 1e9;
  for (int i = 0; i < kLeastWindows || (passed(improved) < seconds && passed(start) < kMostPatience * seconds); i++) {
    window();
    const auto after = Clock::now();
    const double window_s = std::chrono::duration<double>(after - before).count();
    before = after;
    if (window_s < kBetter * best_s) improved = after;
    best_s = std::min(best_s, window_s);
  }
  return best_s;
}

}  // namespace

double probe_read(size_t n_bytes, int n_threads, double seconds) {
  if (n_bytes == 0 || n_threads < 1) throw std::invalid_argument("probe: expected some bytes and at least 1 thread");
  constexpr size_t kPieceBytes = 4096;
  Pool pool(n_threads);
  const auto n_pieces = static_cast<int64_t>((n_bytes + kPieceBytes - 1) / kPieceBytes);
  const Memory buffer = allocate(static_cast<size_t>(n_pieces) * kPieceBytes);
  const auto read = level().probe->read;
  std::atomic<uint64_t> sink{0};  // keeps the sums from being optimised away
  const double best_s = best_window(seconds, [&] {
    pool.run([&](int thread) {
      const Share mine = share(n_pieces, thread, n_threads);
      sink += read(buffer.get() + static_cast<size_t>(mine.begin) * kPieceBytes,
                   static_cast<size_t>(mine.size()) * kPieceBytes);
    });
  });
  return static_cast<double>(n_pieces) * kPieceBytes / best_s;
}

double probe_peak(DataType type, int n_threads, double seconds) {
  if (n_threads < 1) throw std::invalid_argument("probe: expected at least 1 thread");
  Pool pool(n_threads);
  const auto multiply = level().probe->multiply[static_cast<int>(type)];
  int64_t rounds = 1 << 12;
  const double trial_s = best_window(0, [&] { multiply(rounds); });
  rounds = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(rounds) * kWindowSeconds / trial_s));
  double operations = 0;  // of one thread in one window
  const double best_s = best_window(seconds, [&] {
    pool.run([&](int thread) {
      const double done = multiply(rounds);
      if (thread == 0) operations = done;
    });
  });
  return operations * n_threads / best_s;
}

}  // namespace nearlight
