// Activation functions and sums, element by element.
//
// erf is formula 7.1.26 of Abramowitz and Stegun (absolute error 1.5e-7), whose exponential is the one of exp.h.
#include "exp.h"
#include "ops.h"

namespace nearlight::NEARLIGHT_LEVEL {
namespace {

// Apply f to 16 values at a time; the rest goes through the same f, in a vector filled up with zeros.
template <typename F>
NEARLIGHT_INLINE void map(const float* x, float* out, int64_t n, F f) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, f(load(x + i)));
  if (i < n) store_lanes(out + i, f(load_lanes(x + i, static_cast<int>(n - i))), static_cast<int>(n - i));
}

template <typename F>
NEARLIGHT_INLINE void map(const float* x, const float* y, float* out, int64_t n, F f) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, f(load(x + i), load(y + i)));
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    store_lanes(out + i, f(load_lanes(x + i, rest), load_lanes(y + i, rest)), rest);
  }
}

NEARLIGHT_INLINE f32x16 negative(const f32x16& x) { return broadcast(0.0f) - x; }

// x / (1 + exp(-y)): x times the logistic function of y.
NEARLIGHT_INLINE f32x16 gated(const f32x16& x, const f32x16& y) { return x / (broadcast(1.0f) + exp(negative(y))); }

// erfc(|x|)
NEARLIGHT_INLINE f32x16 erfc_of_abs(const f32x16& x) {
  const f32x16 size = abs(x);
  const f32x16 t = broadcast(1.0f) / fma(broadcast(0.3275911f), size, broadcast(1.0f));
  f32x16 sum = broadcast(1.061405429f);
  sum = fma(sum, t, broadcast(-1.453152027f));
  sum = fma(sum, t, broadcast(1.421413741f));
  sum = fma(sum, t, broadcast(-0.284496736f));
  sum = fma(sum, t, broadcast(0.254829592f));
  return sum * t * exp(negative(size * size));
}

// x * Phi(x). With c = erfc(|x| / sqrt 2) / 2 the smaller tail: Phi(x) = c below 0, 1 - c above.
NEARLIGHT_INLINE f32x16 gelu_erf_of(const f32x16& x) {
  const f32x16 tail = broadcast(0.5f) * erfc_of_abs(x * broadcast(0.70710678f));
  return max(x, broadcast(0.0f)) - abs(x) * tail;
}

// x * (1 + tanh(z)) / 2 with z = sqrt(2 / pi) * (x + 0.044715 x^3), which is x * logistic(2 z).
NEARLIGHT_INLINE f32x16 gelu_tanh_of(const f32x16& x) {
  const f32x16 z = x * fma(broadcast(0.044715f) * x, x, broadcast(1.0f));
  return gated(x, z * broadcast(1.59576912f));
}

}  // namespace

void add(const float* x, const float* y, float* out, int64_t n) {
  map(x, y, out, n, [](const f32x16& a, const f32x16& b) { return a + b; });
}

void add_scaled(const float* x, float scale, const float* y, float* out, int64_t n) {
  map(x, y, out, n, [s = broadcast(scale)](const f32x16& a, const f32x16& b) { return fma(s, b, a); });
}

void multiply(const float* x, const float* y, float* out, int64_t n) {
  map(x, y, out, n, [](const f32x16& a, const f32x16& b) { return a * b; });
}

void squared_relu(const float* x, float* out, int64_t n) {
  map(x, out, n, [](const f32x16& a) {
    const f32x16 positive = max(broadcast(0.0f), a);  // in this order a NaN stays one
    return positive * positive;
  });
}

void swiglu(const float* gate, const float* up, float* out, int64_t n) {
  map(gate, up, out, n, [](const f32x16& g, const f32x16& u) { return gated(g, g) * u; });
}

void clamped_swiglu(const float* gate, const float* up, float* out, int64_t n, float alpha, float limit) {
  const f32x16 most = broadcast(limit), least = broadcast(-limit), steep = broadcast(alpha), one = broadcast(1.0f);
  map(gate, up, out, n, [=](const f32x16& g, const f32x16& u) {
    const f32x16 low = min(most, g);  // in this order a NaN stays one
    return gated(low, low * steep) * (min(most, max(least, u)) + one);
  });
}

void sigmoid_gate(const float* x, const float* gate, float* out, int64_t n) {
  map(x, gate, out, n, [](const f32x16& a, const f32x16& g) { return gated(a, g); });
}

void gelu_erf(const float* x, float* out, int64_t n) {
  map(x, out, n, [](const f32x16& a) { return gelu_erf_of(a); });
}

void gelu_tanh(const float* x, float* out, int64_t n) {
  map(x, out, n, [](const f32x16& a) { return gelu_tanh_of(a); });
}

void geglu_erf(const float* gate, const float* up, float* out, int64_t n) {
  map(gate, up, out, n, [](const f32x16& g, const f32x16& u) { return gelu_erf_of(g) * u; });
}

void geglu_tanh(const float* gate, const float* up, float* out, int64_t n) {
  map(gate, up, out, n, [](const f32x16& g, const f32x16& u) { return gelu_tanh_of(g) * u; });
}

void scale(const float* x, float factor, float* out, int64_t n) {
  map(x, out, n, [by = broadcast(factor)](const f32x16& a) { return a * by; });
}

// cap * tanh(x / cap), with tanh(x) = 1 - 2 / (exp(2 x) + 1)
void softcap(const float* x, float cap, float* out, int64_t n) {
  map(x, out, n, [by = broadcast(2.0f / cap), most = broadcast(cap)](const f32x16& a) {
    const f32x16 one = broadcast(1.0f);
    return most * (one - broadcast(2.0f) / (exp(a * by) + one));
  });
}

}  // namespace nearlight::NEARLIGHT_LEVEL
