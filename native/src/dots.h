// Vectors of small codes: opened from their bits, and multiplied as integers, 16 dot products of four at once.
//
// Like simd.h, for level sources only.
#pragma once

#include "simd.h"

namespace nearlight::NEARLIGHT_LEVEL {

// The same four bytes in every lane.
NEARLIGHT_INLINE s8x64 broadcast4(const int8_t* from) {
  int32_t four;
  std::memcpy(&four, from, 4);
  return bits_as<s8x64>(broadcast(four));
}

// The same two numbers of 16 bits in every lane.
NEARLIGHT_INLINE s16x32 broadcast2(const int16_t* from) {
  int32_t two;
  std::memcpy(&two, from, 4);
  return bits_as<s16x32>(broadcast(two));
}

// acc + the dot product of each lane's two numbers of 16 bits, exact (in int32) unless all four are -32768.
NEARLIGHT_INLINE i32x16 dot2(const i32x16& acc, const s16x32& a, const s16x32& b) {
  i32x16 v;
#if defined(NEARLIGHT_AVX512)
  v.part[0] = (i32x16::Register)_mm512_dpwssd_epi32((__m512i)acc.part[0], (__m512i)a.part[0], (__m512i)b.part[0]);
#elif defined(NEARLIGHT_AVX2)
  for (int i = 0; i < kRegisters; i++) {
    v.part[i] = acc.part[i] + (i32x16::Register)_mm256_madd_epi16((__m256i)a.part[i], (__m256i)b.part[i]);
  }
#elif defined(__SSE2__)
  for (int i = 0; i < kRegisters; i++) {
    v.part[i] = acc.part[i] + (i32x16::Register)_mm_madd_epi16((__m128i)a.part[i], (__m128i)b.part[i]);
  }
#else
  int16_t x[32], y[32];
  int32_t lanes[16];
  store(x, a);
  store(y, b);
  store(lanes, acc);
  for (int i = 0; i < 16; i++) lanes[i] += x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
  v = load(lanes);
#endif
  return v;
}

// Each byte shifted right (left if negative), then masked.
template <int shift>
NEARLIGHT_INLINE u8x64 shift_and(const u8x64& v, uint8_t mask) {
  static_assert(-8 < shift && shift < 8);
  u16x32 pairs = bits_as<u16x32>(v);
  if constexpr (shift > 0) pairs = pairs >> shift;
  if constexpr (shift < 0) pairs = pairs << -shift;
  return bits_as<u8x64>(pairs) & broadcast(mask);
}

// table[index] for each byte, index 0 .. 15; `table` holds its 16 entries four times.
NEARLIGHT_INLINE u8x64 lookup16(const u8x64& table, const u8x64& index) {
  u8x64 v;
#if defined(NEARLIGHT_AVX512)
  v.part[0] = (u8x64::Register)_mm512_shuffle_epi8((__m512i)table.part[0], (__m512i)index.part[0]);
#elif defined(NEARLIGHT_AVX2)
  for (int i = 0; i < kRegisters; i++) {
    v.part[i] = (u8x64::Register)_mm256_shuffle_epi8((__m256i)table.part[i], (__m256i)index.part[i]);
  }
#else
  for (int i = 0; i < kRegisters; i++) {
    for (int j = 0; j < 64 / kRegisters; j++) v.part[i][j] = table.part[i][index.part[i][j]];
  }
#endif
  return v;
}

// acc + the dot product of each lane's four unsigned codes and four signed activations, exact (in int32) for all bytes.
// AVX2 has no such instruction; those that follow do without it.
NEARLIGHT_INLINE i32x16 dot4(const i32x16& acc, const u8x64& codes, const s8x64& activations) {
  i32x16 v;
#if defined(NEARLIGHT_AVX512)
  v.part[0] = (i32x16::Register)_mm512_dpbusd_epi32((__m512i)acc.part[0], (__m512i)codes.part[0],
                                                    (__m512i)activations.part[0]);
#else
  uint8_t w[64];
  int8_t a[64];
  int32_t lanes[16];
  store(w, codes);
  store(a, activations);
  store(lanes, acc);
  for (int i = 0; i < 16; i++) {
    for (int j = 0; j < 4; j++) lanes[i] += w[4 * i + j] * a[4 * i + j];
  }
  v = load(lanes);
#endif
  return v;
}

#if defined(NEARLIGHT_AVX2)
// The dot products of two unsigned codes and two signed activations, which must fit in 16 bits: those of 7 bits do, as
// activations are never -128, and of fewer bits sums of several.
NEARLIGHT_INLINE s16x32 dot_pairs(const u8x64& codes, const s8x64& activations) {
  s16x32 v;
  for (int i = 0; i < kRegisters; i++) {
    v.part[i] = (s16x32::Register)_mm256_maddubs_epi16((__m256i)codes.part[i], (__m256i)activations.part[i]);
  }
  return v;
}

// Has the compiler compute a vector here and now: it would rather multiply far ahead and keep the products in memory.
NEARLIGHT_INLINE void in_registers(s16x32& v) {
  for (int i = 0; i < kRegisters; i++) asm("" : "+x"(v.part[i]));
}

// acc + each lane's two numbers of 16 bits
NEARLIGHT_INLINE i32x16 add_pairs(const i32x16& acc, const s16x32& pairs) {
  i32x16 v;
  for (int i = 0; i < kRegisters; i++) {
    v.part[i] = acc.part[i] + (i32x16::Register)_mm256_madd_epi16((__m256i)pairs.part[i], _mm256_set1_epi16(1));
  }
  return v;
}
#endif

// The same for codes of at most 7 bits.
NEARLIGHT_INLINE i32x16 dot4_7bit(const i32x16& acc, const u8x64& codes, const s8x64& activations) {
#if defined(NEARLIGHT_AVX2)
  return add_pairs(acc, dot_pairs(codes, activations));
#else
  return dot4(acc, codes, activations);
#endif
}

#if defined(NEARLIGHT_AVX2)
// The same for codes less 128: the code's size times the activation with the code's sign. Activations must not be -128,
// so that pairs stay within 2 * 128 * 127.
NEARLIGHT_INLINE i32x16 dot4_less_128(const i32x16& acc, const u8x64& codes, const s8x64& activations) {
  i32x16 v;
  for (int i = 0; i < kRegisters; i++) {
    const __m256i w = _mm256_xor_si256((__m256i)codes.part[i], _mm256_set1_epi8(-128));
    const __m256i a = _mm256_sign_epi8((__m256i)activations.part[i], w);
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), a);
    v.part[i] = acc.part[i] + (i32x16::Register)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  }
  return v;
}
#endif

}  // namespace nearlight::NEARLIGHT_LEVEL
