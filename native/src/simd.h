// Vectors of 16 lanes (64 bytes), the same code at every instruction level.
//
//     f32x16   16 floats           one AVX-512 register, two of AVX2, four of SSE2 or NEON
//     i32x16   16 int32
//     u8x64    16 lanes of 4 unsigned codes      } the operands of dot4 (dots.h)
//     s8x64    16 lanes of 4 signed activations  }
//
// A vector is a small struct of native registers, so it stays in registers at all levels. Arithmetic and logic come
// from GCC's vector extensions; only what they lack is written with intrinsics, each with a plain fallback.
//
// The file is compiled once per level, with other flags each time, so everything lives in a namespace named by
// NEARLIGHT_LEVEL (plain, avx2, avx512; given by the build) and must be included by level sources only: an inline
// function shared between levels could be taken from the wrong one by the linker. Never write a * b + c where rounding
// matters; say fma(a, b, c), which is fused where the level has it (the build sets -ffp-contract=off).
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#pragma GCC diagnostic push  // GCC 12 warns of its own undefined-on-purpose registers (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

#if !defined(NEARLIGHT_LEVEL)
#error "compile with -DNEARLIGHT_LEVEL=plain, avx2 or avx512"
#endif

#define NEARLIGHT_INLINE [[maybe_unused]] static inline __attribute__((always_inline))
#define NEARLIGHT_MEMBER inline __attribute__((always_inline))

namespace nearlight::NEARLIGHT_LEVEL {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
#define NEARLIGHT_AVX512 1
constexpr int kRegisterBytes = 64;
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define NEARLIGHT_AVX2 1
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif

constexpr int kRegisters = 64 / kRegisterBytes;  // native registers in a vector

template <typename T>
struct Vec {
  typedef T Register __attribute__((vector_size(kRegisterBytes)));
  Register part[kRegisters];
};

using f32x16 = Vec<float>;
using i32x16 = Vec<int32_t>;
using u16x32 = Vec<uint16_t>;
using s16x32 = Vec<int16_t>;
using u8x64 = Vec<uint8_t>;
using s8x64 = Vec<int8_t>;

// ---- lanes in and out ----------------------------------------------------------------------------------------------

// Register by register: a copy of the whole struct would go through memory.
template <typename T>
NEARLIGHT_INLINE Vec<T> load(const T* from) {  // any alignment
  Vec<T> v;
  for (int i = 0; i < kRegisters; i++) {
    std::memcpy(&v.part[i], reinterpret_cast<const char*>(from) + kRegisterBytes * i, kRegisterBytes);
  }
  return v;
}

template <typename T>
NEARLIGHT_INLINE void store(T* to, const Vec<T>& v) {
  for (int i = 0; i < kRegisters; i++) {
    std::memcpy(reinterpret_cast<char*>(to) + kRegisterBytes * i, &v.part[i], kRegisterBytes);
  }
}

template <typename T>
NEARLIGHT_INLINE Vec<T> broadcast(T value) {
  Vec<T> v;
  for (int i = 0; i < kRegisters; i++) v.part[i] = value - typename Vec<T>::Register{};
  return v;
}

template <typename To, typename From>
NEARLIGHT_INLINE To bits_as(const Vec<From>& from) {  // the same 64 bytes, read as another type of lanes
  To to;
  for (int i = 0; i < kRegisters; i++) to.part[i] = (typename To::Register)from.part[i];
  return to;
}

// The first n lanes; the others are zero when loaded and untouched when stored.
NEARLIGHT_INLINE f32x16 load_lanes(const float* from, int n) {
  float lanes[16] = {};
  std::memcpy(lanes, from, sizeof(float) * static_cast<size_t>(n));
  return load(lanes);
}

NEARLIGHT_INLINE void store_lanes(float* to, const f32x16& v, int n) {
  float lanes[16];
  store(lanes, v);
  std::memcpy(to, lanes, sizeof(float) * static_cast<size_t>(n));
}

// ---- arithmetic ----------------------------------------------------------------------------------------------------

#define NEARLIGHT_OPERATOR(op)                                                 \
  template <typename T>                                                        \
  NEARLIGHT_INLINE Vec<T> operator op(const Vec<T>& a, const Vec<T>& b) {      \
    Vec<T> v;                                                                  \
    for (int i = 0; i < kRegisters; i++) v.part[i] = a.part[i] op b.part[i];   \
    return v;                                                                  \
  }
NEARLIGHT_OPERATOR(+)
NEARLIGHT_OPERATOR(-)
NEARLIGHT_OPERATOR(*)
NEARLIGHT_OPERATOR(/)
NEARLIGHT_OPERATOR(&)
NEARLIGHT_OPERATOR(|)
NEARLIGHT_OPERATOR(^)
#undef NEARLIGHT_OPERATOR

template <typename T>
NEARLIGHT_INLINE Vec<T> operator<<(const Vec<T>& a, int n) {
  Vec<T> v;
  for (int i = 0; i < kRegisters; i++) v.part[i] = a.part[i] << n;
  return v;
}

template <typename T>
NEARLIGHT_INLINE Vec<T> operator>>(const Vec<T>& a, int n) {
  Vec<T> v;
  for (int i = 0; i < kRegisters; i++) v.part[i] = a.part[i] >> n;
  return v;
}

template <typename T>
NEARLIGHT_INLINE Vec<T> max(const Vec<T>& a, const Vec<T>& b) {
  Vec<T> v;
  for (int i = 0; i < kRegisters; i++) v.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
  return v;
}

template <typename T>
NEARLIGHT_INLINE Vec<T> min(const Vec<T>& a, const Vec<T>& b) {
  Vec<T> v;
  for (int i = 0; i < kRegisters; i++) v.part[i] = a.part[i] < b.part[i] ? a.part[i] : b.part[i];
  return v;
}

NEARLIGHT_INLINE f32x16 abs(const f32x16& a) {
  return bits_as<f32x16>(bits_as<i32x16>(a) & broadcast<int32_t>(0x7fffffff));
}

// a * b + c
NEARLIGHT_INLINE f32x16 fma(const f32x16& a, const f32x16& b, const f32x16& c) {
  f32x16 v;
#if defined(NEARLIGHT_AVX512)
  v.part[0] = _mm512_fmadd_ps(a.part[0], b.part[0], c.part[0]);
#elif defined(NEARLIGHT_AVX2)
  for (int i = 0; i < kRegisters; i++) v.part[i] = _mm256_fmadd_ps(a.part[i], b.part[i], c.part[i]);
#else
  for (int i = 0; i < kRegisters; i++) v.part[i] = a.part[i] * b.part[i] + c.part[i];
#endif
  return v;
}

// Sum and maximum over lanes, always in the same order: halves, quarters, eighths ...
#if defined(NEARLIGHT_AVX512)
NEARLIGHT_INLINE float sum(const f32x16& a) { return _mm512_reduce_add_ps(a.part[0]); }
NEARLIGHT_INLINE int32_t sum(const i32x16& a) { return _mm512_reduce_add_epi32((__m512i)a.part[0]); }
NEARLIGHT_INLINE float max_lane(const f32x16& a) { return _mm512_reduce_max_ps(a.part[0]); }
NEARLIGHT_INLINE int32_t max_lane(const i32x16& a) { return _mm512_reduce_max_epi32((__m512i)a.part[0]); }
#else
template <typename T>
NEARLIGHT_INLINE T sum(const Vec<T>& a) {
  T lanes[16];
  store(lanes, a);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

template <typename T>
NEARLIGHT_INLINE T max_lane(const Vec<T>& a) {
  T lanes[16];
  store(lanes, a);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; i++) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
  }
  return lanes[0];
}
#endif

// Lane i is the sum of lanes 2i and 2i + 1 of the 32 in a and b.
NEARLIGHT_INLINE f32x16 add_pairs(const f32x16& a, const f32x16& b) {
#if defined(NEARLIGHT_AVX512)
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
  return {{_mm512_add_ps(_mm512_permutex2var_ps(a.part[0], even, b.part[0]),
                         _mm512_permutex2var_ps(a.part[0], odd, b.part[0]))}};
#elif defined(NEARLIGHT_AVX2)
  f32x16 v;  // hadd leaves the sums of b between the halves of those of a
  const __m256d first = _mm256_castps_pd(_mm256_hadd_ps(a.part[0], a.part[1]));
  const __m256d second = _mm256_castps_pd(_mm256_hadd_ps(b.part[0], b.part[1]));
  v.part[0] = _mm256_castpd_ps(_mm256_permute4x64_pd(first, 0xd8));
  v.part[1] = _mm256_castpd_ps(_mm256_permute4x64_pd(second, 0xd8));
  return v;
#else
  float lanes[32], sums[16];
  store(lanes, a);
  store(lanes + 16, b);
  for (int i = 0; i < 16; i++) sums[i] = lanes[2 * i] + lanes[2 * i + 1];
  return load(sums);
#endif
}

// a where the condition's lane is above 0, else 0.
NEARLIGHT_INLINE f32x16 where_positive(const f32x16& condition, const f32x16& a) {
  f32x16 v;
  for (int i = 0; i < kRegisters; i++) v.part[i] = condition.part[i] > 0 ? a.part[i] : f32x16::Register{};
  return v;
}

#if defined(NEARLIGHT_AVX512)
// The one or the other, without a branch.
NEARLIGHT_INLINE f32x16 choose(bool second, const f32x16& a, const f32x16& b) {
  return {{_mm512_mask_blend_ps(static_cast<__mmask16>(-int{second}), a.part[0], b.part[0])}};
}
#endif

// ---- conversions ---------------------------------------------------------------------------------------------------

NEARLIGHT_INLINE f32x16 to_f32(const i32x16& a) {
  f32x16 v;
  for (int i = 0; i < kRegisters; i++) v.part[i] = __builtin_convertvector(a.part[i], f32x16::Register);
  return v;
}

// To the nearest integer, ties to even; |a| must stay below 2^22.
constexpr float kToIntegers = 12582912.0f;  // 1.5 * 2^23: a sum with it has the integer in its low mantissa bits
NEARLIGHT_INLINE i32x16 round_to_i32(const f32x16& a) {
  const f32x16 magic = broadcast(kToIntegers);
  return bits_as<i32x16>(a + magic) - bits_as<i32x16>(magic);
}
NEARLIGHT_INLINE f32x16 nearest(const f32x16& a) { return a + broadcast(kToIntegers) - broadcast(kToIntegers); }

NEARLIGHT_INLINE float f32_from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

NEARLIGHT_INLINE uint32_t bits_from_f32(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

NEARLIGHT_INLINE float f32_from_bf16(uint16_t bits) { return f32_from_bits(static_cast<uint32_t>(bits) << 16); }

NEARLIGHT_INLINE uint16_t bf16_from_f32(float value) {  // nearest, ties to even; a NaN stays one
  const uint32_t bits = bits_from_f32(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

NEARLIGHT_INLINE float f32_from_f16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, magnitude = bits & 0x7fff;
  if (magnitude >= 0x7c00) return f32_from_bits(sign | 0x7f800000 | ((magnitude & 0x3ff) << 13));
  // As a float with f16's exponent, its value is 2^112 too small; the product also normalises subnormals.
  return f32_from_bits(sign | bits_from_f32(f32_from_bits(magnitude << 13) * 0x1p112f));
}

NEARLIGHT_INLINE uint16_t f16_from_f32(float value) {  // nearest, ties to even
  const uint32_t bits = bits_from_f32(value), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // 65520 and more
  if (magnitude < 0x38800000) {  // subnormal: adding 0.5 leaves value / 2^-24 in the low mantissa bits, rounded
    return static_cast<uint16_t>(sign | (bits_from_f32(f32_from_bits(magnitude) + 0.5f) - 0x3f000000));
  }
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13));
}

NEARLIGHT_INLINE f32x16 load_f16(const uint16_t* from) {
#if defined(NEARLIGHT_AVX512)
  return {{_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))}};
#elif defined(NEARLIGHT_AVX2)
  const auto* halves = reinterpret_cast<const __m128i*>(from);
  return {{_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))}};
#else
  float lanes[16];
  for (int i = 0; i < 16; i++) lanes[i] = f32_from_f16(from[i]);
  return load(lanes);
#endif
}

NEARLIGHT_INLINE void store_f16(uint16_t* to, const f32x16& v) {
#if defined(NEARLIGHT_AVX512)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(v.part[0], _MM_FROUND_TO_NEAREST_INT));
#elif defined(NEARLIGHT_AVX2)
  auto* halves = reinterpret_cast<__m128i*>(to);
  _mm_storeu_si128(halves, _mm256_cvtps_ph(v.part[0], _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(halves + 1, _mm256_cvtps_ph(v.part[1], _MM_FROUND_TO_NEAREST_INT));
#else
  float lanes[16];
  store(lanes, v);
  for (int i = 0; i < 16; i++) to[i] = f16_from_f32(lanes[i]);
#endif
}

NEARLIGHT_INLINE f32x16 load_bf16(const uint16_t* from) {
#if defined(NEARLIGHT_AVX512)
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return {{_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))}};
#else
  float lanes[16];
  for (int i = 0; i < 16; i++) lanes[i] = f32_from_bf16(from[i]);
  return load(lanes);
#endif
}

NEARLIGHT_INLINE i32x16 load_u8_as_i32(const uint8_t* from) {
#if defined(NEARLIGHT_AVX512)
  return {{(i32x16::Register)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))}};
#elif defined(NEARLIGHT_AVX2)
  return {{(i32x16::Register)_mm256_cvtepu8_epi32(_mm_loadu_si64(from)),
           (i32x16::Register)_mm256_cvtepu8_epi32(_mm_loadu_si64(from + 8))}};
#else
  int32_t lanes[16];
  for (int i = 0; i < 16; i++) lanes[i] = from[i];
  return load(lanes);
#endif
}

NEARLIGHT_INLINE i32x16 load_s8_as_i32(const int8_t* from) {
#if defined(NEARLIGHT_AVX512)
  return {{(i32x16::Register)_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))}};
#elif defined(NEARLIGHT_AVX2)
  return {{(i32x16::Register)_mm256_cvtepi8_epi32(_mm_loadu_si64(from)),
           (i32x16::Register)_mm256_cvtepi8_epi32(_mm_loadu_si64(from + 8))}};
#else
  int32_t lanes[16];
  for (int i = 0; i < 16; i++) lanes[i] = from[i];
  return load(lanes);
#endif
}

// The low byte of each lane.
NEARLIGHT_INLINE void store_low_bytes(int8_t* to, const i32x16& v) {
#if defined(NEARLIGHT_AVX512)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8((__m512i)v.part[0]));
#else
  int32_t lanes[16];
  store(lanes, v);
  for (int i = 0; i < 16; i++) to[i] = static_cast<int8_t>(lanes[i]);
#endif
}

// The low 16 bits of each lane, which must be a number that they hold.
NEARLIGHT_INLINE void store_low_halves(int16_t* to, const i32x16& v) {
#if defined(NEARLIGHT_AVX512)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16((__m512i)v.part[0]));
#elif defined(NEARLIGHT_AVX2)
  const __m256i packed = _mm256_packs_epi32((__m256i)v.part[0], (__m256i)v.part[1]);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(packed, 0xd8));
#else
  int32_t lanes[16];
  store(lanes, v);
  for (int i = 0; i < 16; i++) to[i] = static_cast<int16_t>(lanes[i]);
#endif
}

NEARLIGHT_INLINE f32x16 load_u8_as_f32(const uint8_t* from) { return to_f32(load_u8_as_i32(from)); }
NEARLIGHT_INLINE f32x16 load_s8_as_f32(const int8_t* from) { return to_f32(load_s8_as_i32(from)); }

// ---- memory --------------------------------------------------------------------------------------------------------

NEARLIGHT_INLINE void prefetch(const void* address) { __builtin_prefetch(address, 0, 3); }
NEARLIGHT_INLINE void prefetch_to_second_cache(const void* address) { __builtin_prefetch(address, 0, 2); }
NEARLIGHT_INLINE void prefetch_to_write(const void* address) { __builtin_prefetch(address, 1, 3); }

}  // namespace nearlight::NEARLIGHT_LEVEL
