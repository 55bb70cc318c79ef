// Sums of products of pairs, the arithmetic of attention over caches of floats: lane i gains
//
//     operand[2i] * factor[0] + operand[2i + 1] * factor[1]
//
// FloatPairs  the pairs lie side by side in twice as many lanes, which are added two and two at the very end. An f16
//             cache is converted on the way, which loses nothing.
// Bf16Pairs   AVX-512 BF16, where the cache need not be exact: one instruction for 16 lanes, sums in float, 1.7 times
//             as fast. An f16's 3 bits more of mantissa are lost, as they are to the softmax weights they meet. Moving
//             an f16 by three bits makes it a bf16 2^112 times smaller, in half the time of two conversions; factors
//             and sums make up for it. What is below f16's least normal number, 6e-5, is multiplied as zero.
//
// Both have the same members, so what multiplies with them is written once (attend_floats.h). "Opened" operands have
// been converted ahead, for many rows of factors.
#pragma once

#include "../simd.h"

namespace nearlight::NEARLIGHT_LEVEL {

struct FloatPairs {
  using Weight = float;
#if defined(NEARLIGHT_AVX512)
  static constexpr int kSums = 12, kTileRows = 6, kTileVectors = 2;  // sums that registers hold; a tile of many rows
#elif defined(NEARLIGHT_AVX2)
  static constexpr int kSums = 3, kTileRows = 3, kTileVectors = 1;
#else
  static constexpr int kSums = 1, kTileRows = 1, kTileVectors = 1;
#endif
  static constexpr int kOpenedBytes = 128;

  struct Operand {
    f32x16 first, second;  // lanes 0-7 and 8-15, two floats each
  };
  using Sum = Operand;

  NEARLIGHT_MEMBER static Sum zero() { return {broadcast(0.0f), broadcast(0.0f)}; }
  NEARLIGHT_MEMBER static Operand take(const float* from) { return {load(from), load(from + 16)}; }
  NEARLIGHT_MEMBER static Operand take(const uint16_t* from) { return {load_f16(from), load_f16(from + 16)}; }
  NEARLIGHT_MEMBER static Operand opened(const std::byte* from) { return take(reinterpret_cast<const float*>(from)); }
  NEARLIGHT_MEMBER static void open(const Operand& a, std::byte* to) {
    store(reinterpret_cast<float*>(to), a.first);
    store(reinterpret_cast<float*>(to) + 16, a.second);
  }
  // The first of each pair, beside zeros.
  NEARLIGHT_MEMBER static Operand first_of(const Operand& a) {
    const i32x16 mask = bits_as<i32x16>(broadcast(int64_t{0xffffffff}));
    return {bits_as<f32x16>(bits_as<i32x16>(a.first) & mask), bits_as<f32x16>(bits_as<i32x16>(a.second) & mask)};
  }
  NEARLIGHT_MEMBER static f32x16 factor(const Weight* two) {
    int64_t bits;
    std::memcpy(&bits, two, sizeof bits);
    return bits_as<f32x16>(broadcast(bits));
  }
  NEARLIGHT_MEMBER static void add(Sum& sum, const Operand& a, const f32x16& factor) {
    sum.first = fma(a.first, factor, sum.first);
    sum.second = fma(a.second, factor, sum.second);
  }
  NEARLIGHT_MEMBER static f32x16 total(const Sum& sum) { return add_pairs(sum.first, sum.second); }
  NEARLIGHT_MEMBER static void put(Weight* to, const f32x16& values) { store(to, values); }
};

#if defined(__AVX512BF16__)
struct Bf16Pairs {
  using Weight = uint16_t;
  static constexpr int kSums = 24, kTileRows = 6, kTileVectors = 4;
  static constexpr int kOpenedBytes = 64;
  using Operand = __m512i;
  using Sum = __m512;

  NEARLIGHT_MEMBER static Sum zero() { return _mm512_setzero_ps(); }
  NEARLIGHT_MEMBER static Operand take(const uint16_t* from) {
    const __m512i halves = _mm512_add_epi16(_mm512_loadu_si512(from), _mm512_set1_epi16(4));  // to round
    return _mm512_and_si512(_mm512_srai_epi16(halves, 3), _mm512_set1_epi16(static_cast<int16_t>(0x8fff)));
  }
  NEARLIGHT_MEMBER static Operand opened(const std::byte* from) { return _mm512_load_si512(from); }
  NEARLIGHT_MEMBER static void open(const Operand& a, std::byte* to) { _mm512_store_si512(to, a); }
  NEARLIGHT_MEMBER static Operand first_of(const Operand& a) {
    return _mm512_and_si512(a, _mm512_set1_epi32(0xffff));
  }
  NEARLIGHT_MEMBER static __m512i factor(const Weight* two) {
    int32_t bits;
    std::memcpy(&bits, two, sizeof bits);
    return _mm512_set1_epi32(bits);
  }
  NEARLIGHT_MEMBER static void add(Sum& sum, const Operand& a, const __m512i& factor) {
    sum = _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)factor);
  }
  NEARLIGHT_MEMBER static f32x16 total(const Sum& sum) { return f32x16{{sum}} * broadcast(kHalfOfScale); }
  NEARLIGHT_MEMBER static void put(Weight* to, const f32x16& values) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh((values * broadcast(kHalfOfScale)).part[0]));
  }

 private:
  static constexpr float kHalfOfScale = 0x1p56f;  // of factors and of sums, so that neither leaves a float's range
};
using HalfPairs = Bf16Pairs;  // how a cache of f16 is multiplied where it need not be exact
#else
using HalfPairs = FloatPairs;
#endif

}  // namespace nearlight::NEARLIGHT_LEVEL
