// What a group of inputs adds to a sum: the arithmetic of all products with int8 activations.
//
// Per group of 32 inputs (16 in some formats), tile of 16 output rows and activation row: eight (four) dot products of
// four, in integers and exact, then
//
//     t    = scale * (dots - zero * sum)      or, in a format with mins,
//     t    = scale * dots - min * sum
//     acc += factor of the activations * t
//
// one accumulator per output element, over groups in ascending order. The zero point is settled by starting the integers
// at -zero * sum.
//
// Scales of activations that are any float cost one more multiplication per sum and group, a twelfth to a sixth of the
// time. So for weights of fewer than 8 bits they have few bits, 2^e * (1 + i / n). The power of two is settled in the
// start, too: the integers begin as the bits of a float at which their unit is worth 2^e, and subtracting that float,
// which takes the place of a conversion, leaves them scaled. The rest is multiplied into the scale of the weights, whose
// n multiples are made once for all rows, and each row takes its own.
#pragma once

#include "codes.h"
#include "panels.h"

namespace nearlight::NEARLIGHT_LEVEL {

// The quantized activations of one block and R rows (layout.h).
template <int R>
struct Activations {
  const uint8_t* at;

  NEARLIGHT_MEMBER s8x64 codes(int j, int r) const {
    return broadcast4(reinterpret_cast<const int8_t*>(at) + 4 * (j * R + r));
  }
  NEARLIGHT_MEMBER f32x16 scale(int r) const { return broadcast(f32_from_bits(scale_bits(r))); }
  // Which of the weights' scale's multiples a row takes.
  NEARLIGHT_MEMBER uint32_t multiple(int r, int n) const {
    return n == 1 ? 0 : scale_bits(r) & static_cast<uint32_t>(n - 1);
  }
  // Integers to begin with, or floats for mins.
  NEARLIGHT_MEMBER i32x16 start(int group, int r) const {
    int32_t value;
    std::memcpy(&value, at + kBlock * R + 4 * (R * (1 + group) + r), 4);
    return broadcast(value);
  }

  NEARLIGHT_MEMBER uint32_t scale_bits(int r) const {
    uint32_t value;
    std::memcpy(&value, at + kBlock * R + 4 * r, 4);
    return value;
  }

  // The same, unknown to the compiler: what was read before is read again, and holds no register meanwhile.
  NEARLIGHT_MEMBER Activations again() const {
    const uint8_t* same = at;
    asm("" : "+r"(same));
    return {same};
  }
};

// What the sums of a group depend on: formats alike in this share their panel kernels.
template <int groups, bool min, int code_bits, int scale_bits>
struct Kind {
  static constexpr int kGroups = groups, kSteps = 8 / groups;  // steps of four inputs in a group
  static constexpr bool kMin = min;
  static constexpr int kScaleBits = scale_bits;
  static constexpr bool kAnyScale = scale_bits == nearlight::kAnyScale;
  static constexpr int kMultiples = kAnyScale ? 1 : 1 << scale_bits;  // of the weights' scale, for those of activations
  static constexpr Form kForm{Coding::int8, scale_bits, 0, groups};  // but for the zero point
  static constexpr int64_t kActivationBytes = activation_bytes(kForm);  // of a block and a row

  // Whether add() itself takes the zero point away.
#if defined(NEARLIGHT_AVX2)
  static constexpr bool kAddsLess128 = code_bits == 8;
#else
  static constexpr bool kAddsLess128 = false;
#endif

  template <int R>
  NEARLIGHT_MEMBER static i32x16 begin(const Activations<R>& x, int group, int r) {
    if constexpr (!kMin && !kAddsLess128) {
      return x.start(group, r);
    } else {
      return kAnyScale ? i32x16{} : bits_as<i32x16>(x.scale(r));
    }
  }

  // A group's dot products in the making.
  struct Dots {
    i32x16 sum;
#if defined(NEARLIGHT_AVX2)
    // As many steps as fit are summed in 16 bits first, in two instructions each in place of three.
    static constexpr int kFit = 32767 / (2 * 127 * ((1 << code_bits) - 1));
    static constexpr int kJoined = kFit >= kSteps ? kSteps : kFit >= 4 ? 4 : kFit >= 2 ? 2 : 1;
    s16x32 pairs;
#endif

    NEARLIGHT_MEMBER void add([[maybe_unused]] int step, const u8x64& codes, const s8x64& activations) {
#if defined(NEARLIGHT_AVX2)
      if constexpr (kAddsLess128) {
        sum = dot4_less_128(sum, codes, activations);
      } else {
        const s16x32 two = dot_pairs(codes, activations);
        pairs = step % kJoined == 0 ? two : pairs + two;
        in_registers(pairs);
        if (step % kJoined == kJoined - 1) sum = add_pairs(sum, pairs);
      }
#else
      sum = dot4(sum, codes, activations);
#endif
    }
  };

  // Ends a group; `scale` is the row's multiple of the weights'.
  template <int R>
  NEARLIGHT_MEMBER static f32x16 end(const i32x16& dots, const f32x16& scale, const f32x16& min_of_group,
                                     const Activations<R>& x, int group, int r, const f32x16& acc) {
    const f32x16 sum = kMin ? bits_as<f32x16>(x.start(group, r)) : f32x16{};
    if constexpr (kAnyScale) {
      const f32x16 t = to_f32(dots) * scale;
      return fma(kMin ? fma(sum, min_of_group, t) : t, x.scale(r), acc);
    } else {
      const f32x16 without_min = fma(bits_as<f32x16>(dots) - x.scale(r), scale, acc);
      return kMin ? fma(sum, min_of_group, without_min) : without_min;
    }
  }
};

// Elsewhere products do not depend on it, and more formats share their kernels.
template <Format F>
#if defined(NEARLIGHT_AVX2)
constexpr int kBits = kCodeBits<F>;
#else
constexpr int kBits = 8;
#endif

template <Format F>
using KindOf = Kind<layout_of(F).groups, layout_of(F).zero_shift == kMins, kBits<F>, scale_bits(F)>;

}  // namespace nearlight::NEARLIGHT_LEVEL
