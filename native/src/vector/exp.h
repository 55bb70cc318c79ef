// exp for 16 lanes.
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

}  // namespace nearlight::NEARLIGHT_LEVEL
