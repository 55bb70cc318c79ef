// What sampling asks of a vocabulary's scores, 150,000 floats that were just written and lie in the cache: three
// passes, each at the speed at which they can be read.
//
// All levels give the same bits, so that a seed draws the same tokens on every processor: sums go lane by lane in one
// order, and nothing here is fused (products and sums are written apart; see -ffp-contract in CMakeLists.txt).
#include <algorithm>
#include <limits>

#include "ops.h"

namespace nearlight::NEARLIGHT_LEVEL {
namespace {

// 2^x for x <= 0; 0 below -126. As in exp.h, 2^x = 2^n * 2^f with n = round(x), |f| <= 1/2; 2^f is the Taylor sum of
// exp(f ln 2) up to the sixth power, whose rest is below 1.3e-7 of it.
NEARLIGHT_INLINE f32x16 exp2_below_0(const f32x16& given) {
  const f32x16 lowest = broadcast(-126.0f), x = max(given, lowest);
  const f32x16 magic = broadcast(12582912.0f);  // 1.5 * 2^23: the low mantissa bits of x + magic are n
  const f32x16 shifted = x + magic;
  const f32x16 f = x - (shifted - magic);
  f32x16 sum = broadcast(1.540353e-4f);  // ln(2)^6 / 6!
  sum = sum * f + broadcast(1.3333558e-3f);
  sum = sum * f + broadcast(9.6181291e-3f);
  sum = sum * f + broadcast(5.5504109e-2f);
  sum = sum * f + broadcast(2.4022651e-1f);
  sum = sum * f + broadcast(6.9314718e-1f);
  sum = sum * f + broadcast(1.0f);
  f32x16 result = bits_as<f32x16>(bits_as<i32x16>(sum) + (bits_as<i32x16>(shifted) << 23));  // times 2^n
  for (int i = 0; i < kRegisters; i++) {
    result.part[i] = given.part[i] < lowest.part[i] ? f32x16::Register{} : result.part[i];
  }
  return result;
}

}  // namespace

void block_maxima(const float* scores, int64_t n, float* maxima) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  for (int64_t start = 0; start < n; start += kScoreBlock) {
    const int64_t stop = std::min(n, start + kScoreBlock);
    int64_t i = start;
    f32x16 best = broadcast(-std::numeric_limits<float>::infinity());
    i32x16 is_nan = broadcast<int32_t>(0);
    for (; i + 16 <= stop; i += 16) {
      const f32x16 x = load(scores + i);
      best = max(x, best);
      for (int j = 0; j < kRegisters; j++) is_nan.part[j] |= x.part[j] != x.part[j];
    }
    float maximum = max_lane(best);
    bool nan = sum(is_nan) != 0;
    for (; i < stop; i++) {
      maximum = std::max(maximum, scores[i]);
      nan |= scores[i] != scores[i];
    }
    *maxima++ = nan ? kNaN : maximum;
  }
}

int64_t scores_reaching(const float* scores, int64_t n, const float* maxima, float floor, int32_t* ids) {
  int64_t count = 0;
  for (int64_t start = 0; start < n; start += kScoreBlock) {
    if (!(*maxima++ >= floor)) continue;
    const int64_t stop = std::min(n, start + kScoreBlock);
    for (int64_t part = start; part < stop; part += 16) {
      const int64_t end = std::min(stop, part + 16);
      if (end - part == 16 && !(max_lane(load(scores + part)) >= floor)) continue;
      for (int64_t i = part; i < end; i++) {
        ids[count] = static_cast<int32_t>(i);  // kept if the next line counts it
        count += scores[i] >= floor;
      }
    }
  }
  return count;
}

double sum_of_powers(const float* scores, int64_t n, float highest, float factor) {
  constexpr int64_t kRun = 16 * 64;  // added up in floats, a lane each; the runs in double
  const f32x16 highests = broadcast(highest), factors = broadcast(factor);
  double total = 0;
  for (int64_t start = 0; start < n; start += kRun) {
    const int64_t stop = std::min(n, start + kRun);
    int64_t i = start;
    f32x16 run = broadcast(0.0f);
    for (; i + 16 <= stop; i += 16) run = run + exp2_below_0((load(scores + i) - highests) * factors);
    if (i < stop) {
      float rest[16];
      std::fill(rest, rest + 16, -std::numeric_limits<float>::infinity());
      std::copy(scores + i, scores + stop, rest);
      run = run + exp2_below_0((load(rest) - highests) * factors);
    }
    float lanes[16];
    store(lanes, run);
    for (const float lane : lanes) total += static_cast<double>(lane);
  }
  return total;
}

}  // namespace nearlight::NEARLIGHT_LEVEL
