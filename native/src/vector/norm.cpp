// Norms: each vector is summed lane by lane and the lanes at the end, always in the same order.
// Source: arXiv:1607.06450 (LayerNorm), arXiv:1910.07467 (RMSNorm).
#include <cmath>

#include "ops.h"

namespace nearlight::NEARLIGHT_LEVEL {
namespace {

// sum over i of (x[i] - mean)^2
NEARLIGHT_INLINE float sum_of_squares(const float* x, int64_t n, float mean) {
  const f32x16 middle = broadcast(mean);
  f32x16 total = broadcast(0.0f);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const f32x16 d = load(x + i) - middle;
    total = fma(d, d, total);
  }
  if (i < n) {
    float deviations[16] = {};
    for (int64_t j = i; j < n; j++) deviations[j - i] = x[j] - mean;
    const f32x16 d = load(deviations);
    total = fma(d, d, total);
  }
  return sum(total);
}

NEARLIGHT_INLINE float sum_of_values(const float* x, int64_t n) {
  f32x16 total = broadcast(0.0f);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) total = total + load(x + i);
  if (i < n) total = total + load_lanes(x + i, static_cast<int>(n - i));
  return sum(total);
}

}  // namespace

void rms_norm(const float* x, const float* weight, float* y, int64_t n_vectors, int64_t n, float eps) {
  for (int64_t v = 0; v < n_vectors; v++, x += n, y += n) {
    const float factor = 1.0f / std::sqrt(sum_of_squares(x, n, 0.0f) / static_cast<float>(n) + eps);
    const f32x16 factors = broadcast(factor);
    int64_t i = 0;
    if (!weight) {
      for (; i + 16 <= n; i += 16) store(y + i, load(x + i) * factors);
      for (; i < n; i++) y[i] = x[i] * factor;
      continue;
    }
    for (; i + 16 <= n; i += 16) store(y + i, load(x + i) * factors * load(weight + i));
    for (; i < n; i++) y[i] = x[i] * factor * weight[i];
  }
}

void layer_norm(const float* x, const float* weight, const float* bias, float* y, int64_t n_vectors, int64_t n,
                float eps) {
  for (int64_t v = 0; v < n_vectors; v++, x += n, y += n) {
    const float mean = sum_of_values(x, n) / static_cast<float>(n);
    const float factor = 1.0f / std::sqrt(sum_of_squares(x, n, mean) / static_cast<float>(n) + eps);
    const f32x16 means = broadcast(mean), factors = broadcast(factor);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
      store(y + i, (load(x + i) - means) * factors * load(weight + i) + load(bias + i));
    }
    for (; i < n; i++) y[i] = (x[i] - mean) * factor * weight[i] + bias[i];
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
