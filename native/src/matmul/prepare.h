// Activations made ready for the kernels (layout.h): panels of rows, blocks of 32 inputs, zeros past n_in.
//
// int8 codes are symmetric. A row has one scale, with which its largest value becomes 127, and every block of 32 a power
// of two on top, the largest that keeps its codes within 127: an outlier spoils nobody but its 31 neighbours, and a
// kernel applies the power by adding to a float's exponent, where multiplying with a scale of its own would take the
// time of one dot product in ten. What it costs: codes use 6 to 7 bits of 7. Error of products (rms) with normal, gated
// and heavy-tailed activations, and with a few channels 30 times larger:
//
//     scale per 32 inputs         0.5 %   0.9 %   0.8 %   1.2 %
//     power of two per 32         0.8 %   1.3 %   1.1 %   1.5 %     here
//     scale per 256               0.7 %   1.5 %   1.5 %   2.9 %     llama.cpp with K-quants
//
// A share of the work is a range of rows.
#pragma once

#include "panels.h"

namespace nearlight::NEARLIGHT_LEVEL {

// Writes word i of row r among `rows` rows; i counts steps of the kernel (four codes, two bfloat16, a float).
NEARLIGHT_INLINE void put_words(const void* words, int n, uint8_t* record, int64_t r, int64_t rows) {
  for (int i = 0; i < n; i++) std::memcpy(record + 4 * (i * rows + r), static_cast<const uint8_t*>(words) + 4 * i, 4);
}

constexpr int kMostHalvings = 24;  // between a row's scale and a block's; far below, codes are zeros anyway

// The scale of a row's int8 codes and what finds them: code = round(input * to_code * 2^halvings of the block).
struct RowScale {
  float largest, to_code;

  // Compared as integers, magnitudes keep their order and a NaN is the largest: it becomes the scale and is not lost.
  NEARLIGHT_MEMBER explicit RowScale(const i32x16& magnitudes)
      : largest(f32_from_bits(static_cast<uint32_t>(max_lane(magnitudes)))),
        to_code(largest > 0 ? 127.0f / largest : 0.0f) {}

  // Of the blocks' smallest scale, so that exponents are never negative: added to a zero's they leave next to nothing.
  NEARLIGHT_MEMBER float smallest() const { return largest / 127.0f * (1.0f / (1 << kMostHalvings)); }

  NEARLIGHT_MEMBER int halvings(float largest_of_block) const {
    const int n = static_cast<int>(bits_from_f32(largest / largest_of_block) >> 23) - 127;
    return n < 0 ? 0 : n > kMostHalvings ? kMostHalvings : n;
  }
};

NEARLIGHT_INLINE i32x16 magnitudes(const f32x16& v) { return bits_as<i32x16>(abs(v)); }

// inputs a then b, 16 each, of row r
NEARLIGHT_INLINE void put_int8(const f32x16& a, const f32x16& b, const RowScale& scale, uint8_t* record, int64_t r,
                               int64_t rows) {
  const int32_t largest = max_lane(max(magnitudes(a), magnitudes(b)));
  const int halvings = scale.halvings(f32_from_bits(static_cast<uint32_t>(largest)));
  const f32x16 to_code = broadcast(scale.to_code * static_cast<float>(1 << halvings));
  const i32x16 first = round_to_i32(a * to_code), second = round_to_i32(b * to_code);
  int8_t codes[kBlock];
  store_low_bytes(codes, first);
  store_low_bytes(codes + kLanes, second);
  put_words(codes, kBlock / 4, record, r, rows);
  const int32_t numbers[] = {(kMostHalvings - halvings) << 23, -sum(first), -sum(second), -sum(first + second)};
  put_words(numbers, 4, record + kBlock * rows, r, rows);
}

NEARLIGHT_INLINE void put_f32(const f32x16& a, const f32x16& b, uint8_t* record, int64_t r, int64_t rows) {
  const f32x16 values[] = {a, b};
  put_words(values, kBlock, record, r, rows);
}

#if defined(__AVX512BF16__)
NEARLIGHT_INLINE void put_bf16(const f32x16& a, const f32x16& b, uint8_t* record, int64_t r, int64_t rows) {
  const __m512bh pairs = _mm512_cvtne2ps_pbh(b.part[0], a.part[0]);
  put_words(&pairs, kBlock / 2, record, r, rows);
}
#endif

// The inputs 32 * block .. of a row, zeros past n_in.
NEARLIGHT_INLINE void load_block(const float* x, int64_t block, int64_t n_in, f32x16& a, f32x16& b) {
  const float* from = x + block * kBlock;
  const int64_t n = n_in - block * kBlock;
  a = n >= kLanes ? load(from) : load_lanes(from, static_cast<int>(n));
  b = n >= kBlock   ? load(from + kLanes)
      : n > kLanes ? load_lanes(from + kLanes, static_cast<int>(n) - kLanes)
                   : f32x16{};
}

NEARLIGHT_INLINE i32x16 largest_magnitudes(const float* x, int64_t n_in) {
  i32x16 largest{};
  f32x16 a, b;
  for (int64_t block = 0; block < n_blocks(n_in); block++) {
    load_block(x, block, n_in, a, b);
    largest = max(largest, max(magnitudes(a), magnitudes(b)));
  }
  return largest;
}

inline void prepare(Form form, const float* x, int64_t ldx, int64_t n_rows, int64_t n_in, void* prepared, int part,
                    int parts) {
  const int64_t height = panel_rows(form, n_rows), blocks = n_blocks(n_in);
  auto* to = static_cast<uint8_t*>(prepared);
  for (int64_t row = n_rows * part / parts; row < n_rows * (part + 1) / parts; row++) {
    const float* from = x + row * ldx;
    const RowScale scale(form == Form::int8 ? largest_magnitudes(from, n_in) : i32x16{});
    if (form == Form::int8) {
      const float smallest = scale.smallest();
      std::memcpy(to + row_scales_at(n_rows, n_in) + sizeof(float) * static_cast<size_t>(row), &smallest, sizeof smallest);
    }
    const int64_t panel = row / height * height, r = row - panel, rows = n_rows - panel < height ? n_rows - panel : height;
    for (int64_t first = 0; first < blocks; first += kChunk) {
      const int64_t n = blocks - first < kChunk ? blocks - first : kChunk;
      uint8_t* record = to + records_at(form, n_rows, panel, first, n);
      for (int64_t block = first; block < first + n; block++, record += static_cast<size_t>(rows) * record_bytes(form)) {
        f32x16 a, b;
        load_block(from, block, n_in, a, b);
        switch (form) {
          case Form::f32: put_f32(a, b, record, r, rows); break;
          case Form::int8: put_int8(a, b, scale, record, r, rows); break;
          case Form::bf16:
#if defined(__AVX512BF16__)
            put_bf16(a, b, record, r, rows);
#endif
            break;  // form() never names it elsewhere
        }
      }
    }
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
