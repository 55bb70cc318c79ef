// exp, 2^x for x <= 0, and log(1 + exp(x)), for 16 lanes.
//
// exp(x) = 2^n * exp(r) with n = round(x / ln 2), |r| <= ln(2)/2. ln 2 is taken away in two parts, so that r keeps all
// its bits; exp(r) is its Taylor sum up to r^7 / 7!, whose rest is below 1e-8 of the result. Within 1e-7 of the
// result where that is a normal float; below exp(-87) it is 0 and above exp(88) it stays there.
// Source: Cody and Waite, Software Manual for the Elementary Functions (1980), chapter 6.
#pragma once

#include "../simd.h"

namespace nearlight::NEARLIGHT_LEVEL {

NEARLIGHT_INLINE f32x16 exp(const f32x16& given) {
  const f32x16 lowest = broadcast(-87.0f);
  const f32x16 x = min(broadcast(88.0f), max(lowest, given));  // in this order a NaN stays one
  const i32x16 n = round_to_i32(x * broadcast(1.44269504f));
  const f32x16 whole = to_f32(n);
  f32x16 r = fma(whole, broadcast(-0.693359375f), x);  // 9 bits: its products are exact
  r = fma(whole, broadcast(2.12194440e-4f), r);
  f32x16 sum = broadcast(1.0f / 5040);
  sum = fma(sum, r, broadcast(1.0f / 720));
  sum = fma(sum, r, broadcast(1.0f / 120));
  sum = fma(sum, r, broadcast(1.0f / 24));
  sum = fma(sum, r, broadcast(1.0f / 6));
  sum = fma(sum, r, broadcast(0.5f));
  sum = fma(sum, r, broadcast(1.0f));
  sum = fma(sum, r, broadcast(1.0f));
  const f32x16 power = bits_as<f32x16>((n + broadcast<int32_t>(127)) << 23);
  f32x16 result = sum * power;
  for (int i = 0; i < kRegisters; i++) {
    result.part[i] = given.part[i] < lowest.part[i] ? f32x16::Register{} : result.part[i];
  }
  return result;
}

// 2^x for x <= 0, exactly 1 for 0, and 0 below 2^-126; a NaN stays one.
//
// x = n + r with |r| <= 1/2; 2^r is a polynomial of degree 5, fitted for the smallest relative error under the
// condition that it is 1 at 0, within 2e-7 with its roundings. Half the work of exp: for softmax, whose scores can be
// had in units of ln 2 for nothing.
NEARLIGHT_INLINE f32x16 exp2_of_negative(const f32x16& given) {
  const f32x16 lowest = broadcast(-126.0f), magic = broadcast(12582912.0f);  // 1.5 * 2^23: n is in the low bits
  const f32x16 x = max(lowest, given);
  const f32x16 shifted = x + magic, r = x - (shifted - magic);
  f32x16 sum = broadcast(1.3264715e-3f);
  sum = fma(sum, r, broadcast(9.6715139e-3f));
  sum = fma(sum, r, broadcast(5.5507340e-2f));
  sum = fma(sum, r, broadcast(2.4022242e-1f));
  sum = fma(sum, r, broadcast(6.9314700e-1f));
  sum = fma(sum, r, broadcast(1.0f));
  f32x16 result = bits_as<f32x16>(bits_as<i32x16>(sum) + (bits_as<i32x16>(shifted) << 23));
  for (int i = 0; i < kRegisters; i++) {
    result.part[i] = given.part[i] < lowest.part[i] ? f32x16::Register{} : result.part[i];
  }
  return result;
}

// log(1 + exp(x)). The logarithm of 1 + u for u <= 1 is 2 artanh(z) with z = u / (2 + u) <= 1/3, whose series is off by
// less than 1e-9 after nine terms.
NEARLIGHT_INLINE f32x16 softplus(const f32x16& x) {
  const f32x16 u = exp2_of_negative(abs(x) * broadcast(-1.44269504f)), z = u / (broadcast(2.0f) + u), square = z * z;
  f32x16 sum = broadcast(1.0f / 17);
  for (int odd = 15; odd > 0; odd -= 2) sum = fma(sum, square, broadcast(1.0f / static_cast<float>(odd)));
  return fma(broadcast(2.0f) * z, sum, max(x, broadcast(0.0f)));
}

}  // namespace nearlight::NEARLIGHT_LEVEL
