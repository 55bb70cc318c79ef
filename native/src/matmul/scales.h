// What the quantized formats mean: weight = scale * (code - zero), or scale * code - min (layout.h says which).
//
// Scales<F> opens the scale fields of one stored block of 16 lanes; `group` counts its groups of 32 or 16 inputs. Per
// format:
//
//     kTable    values (plus zero point) of 4-bit codes, where a code is an index
//
// The zero point and the min cost one step per group, not per input: both are multiplied with the sum of the group's
// activations, which is quantized with them.
#pragma once

#include "../dots.h"
#include "layout.h"

namespace nearlight::NEARLIGHT_LEVEL {

NEARLIGHT_INLINE f32x16 half_at(const uint8_t* scales, const Layout& layout, int i) {
  return load_f16(reinterpret_cast<const uint16_t*>(scales + kLanes * layout.n_bytes) + kLanes * i);
}

template <Format F>
struct ScaleOnly {  // d
  static constexpr const uint8_t* kTable = nullptr;
  f32x16 d;
  NEARLIGHT_MEMBER explicit ScaleOnly(const uint8_t* from) : d(half_at(from, layout_of(F), 0)) {}
  NEARLIGHT_MEMBER f32x16 scale(int) const { return d; }
  NEARLIGHT_MEMBER f32x16 min(int) const { return d; }  // never asked
};

template <Format F>
struct ScaleAndMin {  // d, -m
  static constexpr const uint8_t* kTable = nullptr;
  f32x16 d, m;
  NEARLIGHT_MEMBER explicit ScaleAndMin(const uint8_t* from)
      : d(half_at(from, layout_of(F), 0)), m(half_at(from, layout_of(F), 1)) {}
  NEARLIGHT_MEMBER f32x16 scale(int) const { return d; }
  NEARLIGHT_MEMBER f32x16 min(int) const { return m; }
};

// d and a zero point: scale * (code - zero), so the min is their product, which is exact.
template <Format F>
struct ZeroPoint {
  static constexpr bool kBytes = layout_of(F).low_bits == 8;
#if defined(NEARLIGHT_AVX2)
  static constexpr int kLess = kBytes ? 128 : 0;  // its product takes codes of 8 bits less this (group.h)
#else
  static constexpr int kLess = 0;
#endif
  static constexpr const uint8_t* kTable = nullptr;
  f32x16 d, m;
  NEARLIGHT_MEMBER explicit ZeroPoint(const uint8_t* from)
      : d(half_at(from, layout_of(F), 0)), m(d * to_f32(load_u8_as_i32(from) - broadcast(int32_t{kLess}))) {}
  NEARLIGHT_MEMBER f32x16 scale(int) const { return d; }
  NEARLIGHT_MEMBER f32x16 min(int) const { return m; }
};

// d and dmin over 6-bit scales and mins: in the order stored, four lanes-of-16 rows each, a = scales 0-3 (low 6 bits),
// b = mins 0-3, c = low nibbles of scales and mins 4-7, whose high two bits top a and b.
template <Format F>
struct SixBit {
  static constexpr const uint8_t* kTable = nullptr;
  f32x16 d, dmin;
  alignas(64) uint8_t scales[8 * kLanes], mins[8 * kLanes];
  NEARLIGHT_MEMBER explicit SixBit(const uint8_t* from)
      : d(half_at(from, layout_of(F), 0)), dmin(half_at(from, layout_of(F), 1)) {
    const u8x64 a = load(from), b = load(from + 64), c = load(from + 128);
    store(scales, a & broadcast<uint8_t>(63));
    store(mins, b & broadcast<uint8_t>(63));
    store(scales + 64, shift_and<0>(c, 15) | shift_and<2>(a, 0x30));
    store(mins + 64, shift_and<4>(c, 15) | shift_and<2>(b, 0x30));
  }
  NEARLIGHT_MEMBER f32x16 scale(int group) const { return d * load_u8_as_f32(scales + kLanes * group); }
  NEARLIGHT_MEMBER f32x16 min(int group) const { return dmin * load_u8_as_f32(mins + kLanes * group); }
};

template <Format F>
struct Scales;

template <> struct Scales<Format::Q8_0> : ScaleOnly<Format::Q8_0> { using ScaleOnly::ScaleOnly; };
template <> struct Scales<Format::Q4_0> : ScaleOnly<Format::Q4_0> { using ScaleOnly::ScaleOnly; };
template <> struct Scales<Format::Q5_0> : ScaleOnly<Format::Q5_0> { using ScaleOnly::ScaleOnly; };
template <> struct Scales<Format::Q4_1> : ScaleAndMin<Format::Q4_1> { using ScaleAndMin::ScaleAndMin; };
template <> struct Scales<Format::Q5_1> : ScaleAndMin<Format::Q5_1> { using ScaleAndMin::ScaleAndMin; };
template <> struct Scales<Format::Q4_K> : SixBit<Format::Q4_K> { using SixBit::SixBit; };
template <> struct Scales<Format::Q5_K> : SixBit<Format::Q5_K> { using SixBit::SixBit; };
template <> struct Scales<Format::W4G32> : ZeroPoint<Format::W4G32> { using ZeroPoint::ZeroPoint; };
template <> struct Scales<Format::W4G64> : ZeroPoint<Format::W4G64> { using ZeroPoint::ZeroPoint; };
template <> struct Scales<Format::W4G128> : ZeroPoint<Format::W4G128> { using ZeroPoint::ZeroPoint; };
template <> struct Scales<Format::W8G32> : ZeroPoint<Format::W8G32> { using ZeroPoint::ZeroPoint; };
template <> struct Scales<Format::W8G64> : ZeroPoint<Format::W8G64> { using ZeroPoint::ZeroPoint; };
template <> struct Scales<Format::W8G128> : ZeroPoint<Format::W8G128> { using ZeroPoint::ZeroPoint; };

#define NEARLIGHT_FOUR_TIMES(...) __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__

alignas(64) constexpr uint8_t kNonLinear4[64] = {  // the values of IQ4_NL, plus 128
    NEARLIGHT_FOUR_TIMES(1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241)};

alignas(64) constexpr uint8_t kE2M1[64] = {  // twice the values of a 4-bit float, plus 16
    NEARLIGHT_FOUR_TIMES(16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4)};

template <>
struct Scales<Format::IQ4_NL> : ScaleOnly<Format::IQ4_NL> {
  using ScaleOnly::ScaleOnly;
  static constexpr const uint8_t* kTable = kNonLinear4;
};

template <>
struct Scales<Format::MXFP4> {  // 2^(e - 128); e = 0 gives 0, not 2^-128
  static constexpr const uint8_t* kTable = kE2M1;
  f32x16 d;
  NEARLIGHT_MEMBER explicit Scales(const uint8_t* from)
      : d(bits_as<f32x16>(load_u8_as_i32(from) << 23) * broadcast(0.5f)) {}
  NEARLIGHT_MEMBER f32x16 scale(int) const { return d; }
  NEARLIGHT_MEMBER f32x16 min(int) const { return d; }  // never asked
};

template <>
struct Scales<Format::IQ4_XS> {  // d over 6-bit scales less 32: nibbles of 0-3 below 4-7, then two bits of 0-3, of 4-7
  static constexpr const uint8_t* kTable = kNonLinear4;
  f32x16 d;
  alignas(64) int8_t scales[8 * kLanes];
  NEARLIGHT_MEMBER explicit Scales(const uint8_t* from) : d(half_at(from, layout_of(Format::IQ4_XS), 0)) {
    const uint8_t* tops = from + 4 * kLanes;
    for (int j = 0; j < 4; j++) {
      for (int i = 0; i < kLanes; i++) {
        const int nibbles = from[kLanes * j + i];
        scales[kLanes * j + i] = static_cast<int8_t>(((nibbles & 15) | (tops[i] >> 2 * j & 3) << 4) - 32);
        scales[kLanes * (j + 4) + i] = static_cast<int8_t>((nibbles >> 4 | (tops[kLanes + i] >> 2 * j & 3) << 4) - 32);
      }
    }
  }
  NEARLIGHT_MEMBER f32x16 scale(int group) const { return d * load_s8_as_f32(scales + kLanes * group); }
  NEARLIGHT_MEMBER f32x16 min(int) const { return d; }  // never asked
};

template <>
struct Scales<Format::Q2_K> {  // d over 4-bit scales, dmin over 4-bit mins, sixteen of each
  static constexpr const uint8_t* kTable = nullptr;
  f32x16 d, dmin;
  alignas(64) uint8_t scales[16 * kLanes], mins[16 * kLanes];
  NEARLIGHT_MEMBER explicit Scales(const uint8_t* from)
      : d(half_at(from, layout_of(Format::Q2_K), 0)), dmin(half_at(from, layout_of(Format::Q2_K), 1)) {
    for (int i = 0; i < 16 * kLanes; i += 64) {
      store(scales + i, shift_and<0>(load(from + i), 15));
      store(mins + i, shift_and<4>(load(from + i), 15));
    }
  }
  NEARLIGHT_MEMBER f32x16 scale(int group) const { return d * load_u8_as_f32(scales + kLanes * group); }
  NEARLIGHT_MEMBER f32x16 min(int group) const { return dmin * load_u8_as_f32(mins + kLanes * group); }
};

template <>
struct Scales<Format::Q3_K> {  // d over 6-bit scales less 32: nibbles of 0-7 below 8-15, then pairs of bits of all
  static constexpr const uint8_t* kTable = nullptr;
  f32x16 d;
  alignas(64) uint8_t scales[16 * kLanes];
  NEARLIGHT_MEMBER explicit Scales(const uint8_t* from) : d(half_at(from, layout_of(Format::Q3_K), 0)) {
    const u8x64 a = load(from), b = load(from + 64), tops = load(from + 128), zero = broadcast<uint8_t>(32);
    store(scales, (shift_and<0>(a, 15) | shift_and<-4>(tops, 0x30)) - zero);
    store(scales + 64, (shift_and<0>(b, 15) | shift_and<-2>(tops, 0x30)) - zero);
    store(scales + 128, (shift_and<4>(a, 15) | shift_and<0>(tops, 0x30)) - zero);
    store(scales + 192, (shift_and<4>(b, 15) | shift_and<2>(tops, 0x30)) - zero);
  }
  NEARLIGHT_MEMBER f32x16 scale(int group) const {
    return d * load_s8_as_f32(reinterpret_cast<const int8_t*>(scales) + kLanes * group);
  }
  NEARLIGHT_MEMBER f32x16 min(int) const { return d; }  // never asked
};

template <>
struct Scales<Format::Q6_K> {  // d over sixteen signed bytes
  static constexpr const uint8_t* kTable = nullptr;
  f32x16 d;
  const int8_t* scales;
  NEARLIGHT_MEMBER explicit Scales(const uint8_t* from)
      : d(half_at(from, layout_of(Format::Q6_K), 0)), scales(reinterpret_cast<const int8_t*>(from)) {}
  NEARLIGHT_MEMBER f32x16 scale(int group) const { return d * load_s8_as_f32(scales + kLanes * group); }
  NEARLIGHT_MEMBER f32x16 min(int) const { return d; }  // never asked
};

}  // namespace nearlight::NEARLIGHT_LEVEL
