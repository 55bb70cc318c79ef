// Rotary positions: pairs (i, i + half), or (2 i, 2 i + 1), of each head turned by position * frequency.
//
// The angle is a float32 product, as in the models' own code: at position 100 000 its rounding is part of the result.
// Source: arXiv:2104.09864, whose pairs lie interleaved; half-split as in most of Hugging Face.
#include <cmath>

#include "ops.h"

namespace nearlight::NEARLIGHT_LEVEL {

void rope_angles(const int32_t* positions, const float* frequencies, float magnitude, float* angles, int64_t n_rows,
                 int64_t half) {
  for (int64_t r = 0; r < n_rows; r++, angles += 2 * half) {
    const float position = static_cast<float>(positions[r]);
    for (int64_t i = 0; i < half; i++) {
      const float angle = position * frequencies[i];
      angles[i] = ::cosf(angle) * magnitude;
      angles[half + i] = ::sinf(angle) * magnitude;
    }
  }
}

namespace {

void turn_halves(const float* x, const float* cosines, const float* sines, float* y, int64_t half) {
  int64_t i = 0;
  for (; i + 16 <= half; i += 16) {
    const f32x16 a = load(x + i), b = load(x + half + i), c = load(cosines + i), s = load(sines + i);
    store(y + i, a * c - b * s);
    store(y + half + i, b * c + a * s);
  }
  for (; i < half; i++) {
    const float a = x[i], b = x[half + i];
    y[i] = a * cosines[i] - b * sines[i];
    y[half + i] = b * cosines[i] + a * sines[i];
  }
}

void turn_neighbours(const float* x, const float* cosines, const float* sines, float* y, int64_t half) {
  for (int64_t i = 0; i < half; i++) {
    const float a = x[2 * i], b = x[2 * i + 1];
    y[2 * i] = a * cosines[i] - b * sines[i];
    y[2 * i + 1] = b * cosines[i] + a * sines[i];
  }
}

}  // namespace

void rope(const float* x, const float* angles, float* y, int64_t n_rows, int64_t n_heads, int64_t head_dim,
          int64_t half, bool interleaved) {
  const auto turn = interleaved ? turn_neighbours : turn_halves;
  for (int64_t r = 0; r < n_rows; r++, angles += 2 * half) {
    const float *cosines = angles, *sines = angles + half;
    for (int64_t h = 0; h < n_heads; h++, x += head_dim, y += head_dim) {
      turn(x, cosines, sines, y, half);
      for (int64_t i = 2 * half; i < head_dim; i++) y[i] = x[i];
    }
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
