// Opens packed codes in registers: two operations for 64 of them, one more for each plane of high bits or a table.
#pragma once

#include <algorithm>

#include "scales.h"

namespace nearlight::NEARLIGHT_LEVEL {

// Vector j of a plane of `bits` bits (layout.h), its codes shifted up by `to`.
template <int bits, int j, int to = 0>
NEARLIGHT_INLINE u8x64 plane(const uint8_t* from) {
  const u8x64 vector = load(from + 64 * (j % bits));
  if constexpr (bits == 8) {
    return vector;
  } else {
    return shift_and<j / bits * bits - to>(vector, ((1 << bits) - 1) << to);
  }
}

// Opens vector j of the block that lies at `from`: the unsigned codes of inputs 4j .. 4j+3 of each lane.
template <Format F, int j>
NEARLIGHT_INLINE u8x64 open_codes(const uint8_t* from) {
  constexpr Layout layout = layout_of(F);
  u8x64 codes = plane<layout.low_bits, j>(from);
  if constexpr (layout.high_bits > 0) {
    codes = codes | plane<layout.high_bits, j, layout.low_bits>(from + 64 * layout.low_vectors());
  }
  if constexpr (Scales<F>::kTable != nullptr) codes = lookup16(load(Scales<F>::kTable), codes);
  return codes;
}

// How many bits codes have once they are opened: those of a table more than those stored.
template <Format F>
constexpr int kCodeBits = std::max(layout_of(F).low_bits + layout_of(F).high_bits, layout_of(F).zero_shift + 1);

}  // namespace nearlight::NEARLIGHT_LEVEL
