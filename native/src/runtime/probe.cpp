// See probe.h.
//
// Each thread adds up its part as 64-bit integers in independent sums: less work than a load, at any instruction
// level, so that memory is what is measured.
#include "probe.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "memory.h"
#include "pool.h"
#include "share.h"

namespace nearlight {
namespace {

constexpr double kBudgetSeconds = 0.15;
constexpr int kLeastPasses = 3, kMostPasses = 20;

uint64_t add_up(const std::byte* data, size_t n_bytes) {
  constexpr int kWords = 32;  // four cache lines at a time
  uint64_t sums[kWords] = {};
  const auto* words = reinterpret_cast<const uint64_t*>(data);
  const size_t n = n_bytes / sizeof(uint64_t) / kWords * kWords;
  for (size_t i = 0; i < n; i += kWords) {
    __builtin_prefetch(words + i + 512);
    __builtin_prefetch(words + i + 520);
    __builtin_prefetch(words + i + 528);
    __builtin_prefetch(words + i + 536);
    for (int j = 0; j < kWords; ++j) sums[j] += words[i + static_cast<size_t>(j)];
  }
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

double probe_read(size_t n_bytes, int n_threads) {
  using Clock = std::chrono::steady_clock;
  Pool pool(n_threads);
  const auto n_lines = static_cast<int64_t>(n_bytes / kCacheLine);
  const Memory buffer = allocate(n_bytes);
  std::atomic<uint64_t> sink{0};  // keeps the sums from being optimised away
  double best_s = 1e9;
  const auto start = Clock::now();
  for (int pass = 0; pass < kMostPasses; ++pass) {
    const auto before = Clock::now();
    pool.run([&](int thread) {
      const Share mine = share(n_lines, thread, n_threads);
      sink += add_up(buffer.get() + static_cast<size_t>(mine.begin) * kCacheLine,
                     static_cast<size_t>(mine.size()) * kCacheLine);
    });
    const auto after = Clock::now();
    best_s = std::min(best_s, std::chrono::duration<double>(after - before).count());
    if (pass + 1 >= kLeastPasses && std::chrono::duration<double>(after - start).count() > kBudgetSeconds) break;
  }
  return static_cast<double>(n_lines) * kCacheLine / best_s;
}

}  // namespace nearlight
