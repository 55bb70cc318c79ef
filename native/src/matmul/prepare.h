// Activations made ready for the kernels (layout.h): panels of rows, blocks of 32 inputs, zeros past n_in.
//
// int8 codes are symmetric and have a scale per 32 inputs: an outlier spoils nobody but its 31 neighbours. For weights
// of 8 bits it is the float that makes the largest of them 127. Weights of fewer bits carry errors of their own, ten
// times larger; for them the scale is a power of two over one float for the row, which costs a kernel nothing (int8.h)
// where another multiplication would take the time of one dot product in ten. It costs half a bit. Error of
// products (rms) with normal, gated and heavy-tailed activations, and with a few channels 30 times larger:
//
//     scale per 32 inputs         0.5 %   0.9 %   0.8 %   1.2 %     int8
//     power of two per 32         0.8 %   1.3 %   1.1 %   1.5 %     int8_powers
//     scale per 256               0.7 %   1.5 %   1.5 %   2.9 %     llama.cpp, with K-quants
//
// Rows are independent: those that a thread has just computed it can prepare while they are in its cache.
#pragma once

#include "panels.h"

namespace nearlight::NEARLIGHT_LEVEL {

// Writes word i of row r among `rows` rows; i counts steps of the kernel (four codes, two bfloat16, a float).
NEARLIGHT_INLINE void put_words(const void* words, int n, uint8_t* record, int64_t r, int64_t rows) {
  for (int i = 0; i < n; i++) std::memcpy(record + 4 * (i * rows + r), static_cast<const uint8_t*>(words) + 4 * i, 4);
}

constexpr int kMostHalvings = 24;  // from a row's largest scale to a block's; far below, codes are zeros anyway

// Magnitudes compared as integers keep their order, and a NaN is the largest: it becomes the scale and is not lost.
NEARLIGHT_INLINE i32x16 magnitudes(const f32x16& v) { return bits_as<i32x16>(abs(v)); }
NEARLIGHT_INLINE float largest(const i32x16& magnitudes) {
  return f32_from_bits(static_cast<uint32_t>(max_lane(magnitudes)));
}
NEARLIGHT_INLINE float to_127(float largest) { return largest > 0 ? 127.0f / largest : 0.0f; }

// How often a block's scale is half of the row's: the whole part of the logarithm of their ratio, by the difference of
// their bits, exponents above mantissas.
NEARLIGHT_INLINE int halvings(float largest_of_row, float largest_of_block) {
  const uint32_t n = (bits_from_f32(largest_of_row) - bits_from_f32(largest_of_block)) >> 23;
  return n > kMostHalvings ? kMostHalvings : static_cast<int>(n);
}

// A row's scale is that of the smallest blocks, so that exponents are never negative.
NEARLIGHT_INLINE float scale_of_row(Form form, float largest_of_row) {
  return form.coding == Coding::int8 ? 1.0f : largest_of_row / 127.0f * (1.0f / (1 << kMostHalvings));
}

// What sums of products with codes of this sum begin with; bits are those of the factor, 2^e.
NEARLIGHT_INLINE int32_t start(Form form, int32_t sum, uint32_t bits, int e) {
  const bool powers = form.coding == Coding::int8_powers;
  if (form.zero_shift == kMins) {
    return static_cast<int32_t>(bits_from_f32(static_cast<float>(-sum) * static_cast<float>(powers ? 1 << e : 1)));
  }
  return (powers ? static_cast<int32_t>(bits) : 0) - sum * (1 << form.zero_shift);
}

// inputs a then b, 16 each, of row r
NEARLIGHT_INLINE void put_int8(Form form, const f32x16& a, const f32x16& b, float largest_of_row, uint8_t* record,
                               int64_t r, int64_t rows) {
  const float largest_of_block = largest(max(magnitudes(a), magnitudes(b)));
  float to_code = to_127(largest_of_block);
  uint32_t factor = bits_from_f32(largest_of_block / 127.0f);
  int e = 0;
  if (form.coding == Coding::int8_powers) {
    const int n = halvings(largest_of_row, largest_of_block);
    to_code = to_127(largest_of_row) * static_cast<float>(1 << n);
    e = kMostHalvings - n;
    factor = static_cast<uint32_t>(127 + 23 + e) << 23 | 1u << 22;
  }
  const i32x16 first = round_to_i32(a * broadcast(to_code)), second = round_to_i32(b * broadcast(to_code));
  int8_t codes[kBlock];
  store_low_bytes(codes, first);
  store_low_bytes(codes + kLanes, second);
  put_words(codes, kBlock / 4, record, r, rows);
  put_words(&factor, 1, record + kBlock * rows, r, rows);
  const int32_t starts[] = {start(form, sum(form.groups == 1 ? first + second : first), factor, e),
                            form.groups == 1 ? 0 : start(form, sum(second), factor, e)};
  put_words(starts, form.groups, record + (kBlock + 4) * rows, r, rows);
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

NEARLIGHT_INLINE float largest_of(const float* x, int64_t n_in) {
  i32x16 even{}, odd{};
  int64_t k = 0;
  for (; k + kBlock <= n_in; k += kBlock) {
    even = max(even, magnitudes(load(x + k)));
    odd = max(odd, magnitudes(load(x + k + kLanes)));
  }
  f32x16 a{}, b{};
  if (k < n_in) load_block(x, k / kBlock, n_in, a, b);
  return largest(max(max(even, odd), max(magnitudes(a), magnitudes(b))));
}

inline void prepare(Form form, const float* x, int64_t ldx, int64_t n_rows, int64_t n_in, void* prepared,
                    int64_t row_begin, int64_t row_end) {
  const int64_t height = panel_rows(form, n_rows), blocks = n_blocks(n_in);
  auto* to = static_cast<uint8_t*>(prepared);
  for (int64_t row = row_begin; row < row_end; row++) {
    const float* from = x + row * ldx;
    const float largest_of_row = form.coding == Coding::int8_powers ? largest_of(from, n_in) : 0.0f;
    if (is_int8(form)) {
      const float scale = scale_of_row(form, largest_of_row);
      std::memcpy(to + row_scales_at(form, n_rows, n_in) + sizeof(float) * static_cast<size_t>(row), &scale, sizeof scale);
    }
    const int64_t panel = row / height * height, r = row - panel, rows = n_rows - panel < height ? n_rows - panel : height;
    for (int64_t first = 0; first < blocks; first += kChunk) {
      const int64_t n = blocks - first < kChunk ? blocks - first : kChunk;
      uint8_t* record = to + records_at(form, n_rows, panel, first, n);
      for (int64_t block = first; block < first + n; block++, record += static_cast<size_t>(rows) * record_bytes(form)) {
        f32x16 a, b;
        load_block(from, block, n_in, a, b);
        switch (form.coding) {
          case Coding::f32: put_f32(a, b, record, r, rows); break;
          case Coding::int8:
          case Coding::int8_powers: put_int8(form, a, b, largest_of_row, record, r, rows); break;
          case Coding::bf16:
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
