// Opens packed codes in registers: two operations for 64 of them, one more for each plane of high bits or a table.
#pragma once

#include "scales.h"

namespace nearlight::NEARLIGHT_LEVEL {

// Opens the codes of a block of 32 inputs (layout.h): vector j holds the unsigned codes of inputs 4j .. 4j+3 of each
// lane.
template <Format F>
NEARLIGHT_INLINE void unpack(const uint8_t* from, u8x64 (&codes)[8]) {
  constexpr Layout layout = layout_of(F);
  if constexpr (layout.low_bits == 8) {
    for (int j = 0; j < 8; j++) codes[j] = load(from + 64 * j);
  } else if constexpr (layout.low_bits == 4) {
    for (int p = 0; p < 4; p++) {
      const u8x64 both = load(from + 64 * p);
      codes[p] = shift_and<0>(both, 15);
      codes[p + 4] = shift_and<4>(both, 15);
    }
  } else {
    for (int q = 0; q < 2; q++) {
      const u8x64 four = load(from + 64 * q);
      codes[q] = shift_and<0>(four, 3);
      codes[q + 2] = shift_and<2>(four, 3);
      codes[q + 4] = shift_and<4>(four, 3);
      codes[q + 6] = shift_and<6>(four, 3);
    }
  }
  constexpr int to = layout.low_bits;  // where the high bits go
  const uint8_t* high = from + 64 * layout.low_vectors();
  if constexpr (layout.high_bits == 2) {
    constexpr uint8_t mask = 3 << to;
    for (int q = 0; q < 2; q++) {
      const u8x64 four = load(high + 64 * q);
      codes[q] = codes[q] | shift_and<-to>(four, mask);
      codes[q + 2] = codes[q + 2] | shift_and<2 - to>(four, mask);
      codes[q + 4] = codes[q + 4] | shift_and<4 - to>(four, mask);
      codes[q + 6] = codes[q + 6] | shift_and<6 - to>(four, mask);
    }
  } else if constexpr (layout.high_bits == 1) {
    constexpr uint8_t mask = 1 << to;
    const u8x64 bits = load(high);
    codes[0] = codes[0] | shift_and<0 - to>(bits, mask);
    codes[1] = codes[1] | shift_and<1 - to>(bits, mask);
    codes[2] = codes[2] | shift_and<2 - to>(bits, mask);
    codes[3] = codes[3] | shift_and<3 - to>(bits, mask);
    codes[4] = codes[4] | shift_and<4 - to>(bits, mask);
    codes[5] = codes[5] | shift_and<5 - to>(bits, mask);
    codes[6] = codes[6] | shift_and<6 - to>(bits, mask);
    codes[7] = codes[7] | shift_and<7 - to>(bits, mask);
  }
  if constexpr (Scales<F>::kTable != nullptr) {
    const u8x64 table = load(Scales<F>::kTable);
    for (int j = 0; j < 8; j++) codes[j] = lookup16(table, codes[j]);
  }
}

// Whether codes fit in 7 bits, which makes AVX2's product simpler (dots.h).
template <Format F>
constexpr bool kSevenBits = layout_of(F).low_bits + layout_of(F).high_bits < 8 && layout_of(F).zero_shift < 7;

}  // namespace nearlight::NEARLIGHT_LEVEL
