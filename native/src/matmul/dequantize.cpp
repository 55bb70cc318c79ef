// Looks one row up in a packed matrix, for embeddings: the row's lane is picked out of its tile. A stored row is packed for
// that block by block, each into a tile that holds nothing else, so a format is opened in one place only.
#include <algorithm>

#include "codes.h"
#include "panels.h"

namespace nearlight {
namespace {

using namespace NEARLIGHT_LEVEL;

// The four codes of lane `lane` at step j of a block, still packed in the vectors of layout.h.
template <Format F>
uint32_t four_codes(const uint8_t* block, int j, int lane) {
  constexpr Layout layout = layout_of(F);
  const auto word = [&](int vector) {
    uint32_t w;
    std::memcpy(&w, block + 64 * vector + 4 * lane, 4);
    return w;
  };
  constexpr int steps_high = layout.high_bits == 0 ? 1 : 8 / layout.high_bits, vectors_low = layout.low_bits;
  const uint32_t low_mask = 0x01010101u * ((1u << layout.low_bits) - 1);
  uint32_t codes = word(j % vectors_low) >> (j / vectors_low * layout.low_bits) & low_mask;
  if constexpr (layout.high_bits > 0) {
    const uint32_t high_mask = 0x01010101u * ((1u << layout.high_bits) - 1);
    static_assert(steps_high * layout.high_bits == 8);
    const uint32_t high = word(vectors_low + j % layout.high_bits) >> (j / layout.high_bits * layout.high_bits);
    codes |= (high & high_mask) << layout.low_bits;
  }
  return codes;
}

float lane_of(const f32x16& v, int lane) {
  float lanes[kLanes];
  store(lanes, v);
  return lanes[lane];
}

template <Format F>
void dequantize_quantized(const Matrix& m, int64_t row, float* out) {
  using S = Scales<F>;
  constexpr Layout layout = layout_of(F);
  constexpr bool has_mins = layout.zero_shift == kMins;
  const int lane = static_cast<int>(row % kLanes);
  const uint8_t *block = m.codes(row / kLanes), *scales_at = m.scales(row / kLanes);
  for (int64_t first = 0; first < m.n_in; first += layout.stored_block) {
    const S scales(scales_at);
    for (int64_t k = first; k < first + layout.stored_block && k < m.n_in; k += kBlock) {
      for (int g = 0; g < layout.groups; g++) {
        const int group = static_cast<int>((k - first) / kBlock) * layout.groups + g;
        const float scale = lane_of(scales.scale(group), lane);
        const float min = has_mins ? lane_of(scales.min(group), lane) : 0.0f;
        for (int i = g * kBlock / layout.groups; i < (g + 1) * kBlock / layout.groups && k + i < m.n_in; i++) {
          int code = static_cast<int>(four_codes<F>(block, i / 4, lane) >> (i % 4 * 8) & 0xff);
          if constexpr (S::kTable != nullptr) code = S::kTable[code];
          const int zero = has_mins ? 0 : 1 << layout.zero_shift;
          out[k + i] = scale * static_cast<float>(code - zero) - min;
        }
      }
      block += 64 * layout.block_vectors();
    }
    scales_at += kLanes * layout.scale_bytes();
  }
}

void dequantize_float(const Matrix& m, int64_t row, float* out) {
  const int64_t size = m.format == Format::F32 ? 4 : 2, group = m.format == Format::BF16 ? 2 : 1;
  const int64_t step_bytes = kLanes * group * size, stride = float_group(m, row / kLanes) * step_bytes;
  const uint8_t* lane = float_step(m, row / kLanes, 0, step_bytes) + row % kLanes * group * size;
  for (int64_t k = 0; k < m.n_in; k++) {
    const uint8_t* at = lane + k / group * stride + k % group * size;
    if (m.format == Format::F32) {
      std::memcpy(&out[k], at, 4);
    } else {
      uint16_t half;
      std::memcpy(&half, at, 2);
      out[k] = m.format == Format::F16 ? f32_from_f16(half) : f32_from_bf16(half);
    }
  }
}

template <Format F>
void dequantize_format(const Matrix& m, int64_t row, float* out) {
  if constexpr (is_float(F)) {
    dequantize_float(m, row, out);
  } else {
    dequantize_quantized<F>(m, row, out);
  }
}

}  // namespace

void dequantize_row(const Matrix& m, int64_t row, float* out) {
  using Dequantize = void (*)(const Matrix&, int64_t, float*);
  static constexpr auto formats = []<int... f>(std::integer_sequence<int, f...>) {
    return Table<Dequantize, kFormats>{{dequantize_format<static_cast<Format>(f)>...}};
  }(std::make_integer_sequence<int, kFormats>{});
  formats.at[static_cast<int>(m.format)](m, row, out);
}

void dequantize_stored_row(Format format, const uint8_t* stored, int64_t n_in, float* out) {
  constexpr int64_t most_values = 256;
  alignas(64) uint8_t tile[kLanes * most_values * sizeof(float)];
  for (int64_t begin = 0; begin < n_in; begin += most_values) {
    Matrix block = describe(format, 1, std::min(most_values, n_in - begin));
    block.data = tile;
    pack(block, stored + stored_row_bytes(format, begin), 0, 0, 1);
    dequantize_row(block, 0, out + begin);
  }
}

}  // namespace nearlight
