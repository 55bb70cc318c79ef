// Activations quantized for the kernels (layout.h): panels of rows, blocks of 32 inputs, zeros past n_in. For float
// weights they are only rounded to bfloat16, or copied.
//
// int8 codes are symmetric and have a scale per 32 inputs: an outlier spoils nobody but its 31 neighbours. The scale is
// the float that makes the largest of them 127. For weights of fewer than 8 bits it is rounded up to a few bits, which
// costs a kernel nothing (group.h) where another multiplication would take the time of one dot product in ten. Of 4 bits,
// the scale above is taken where it happens to fit the block better. Error of products (rms) with normal, gated and
// heavy-tailed activations, and with a few channels 30 times larger:
//
//     scale per 32 inputs       0.54 %   0.74 %   0.73 %   1.20 %     llama.cpp, with blocks of 32
//     of 4 bits                 0.54 %   0.75 %   0.74 %   1.23 %     blocks of 32, 64 and 128 weights
//     of 1 bit                  0.66 %   0.91 %   0.90 %   1.45 %     K-quants and others in blocks of 256
//     scale per 256             0.70 %   1.16 %   1.30 %   2.9 %      llama.cpp, with K-quants
//
// Rows are independent: those that a thread has just computed it can quantize while they are in its cache.
#pragma once

#include <cmath>

#include "panels.h"

namespace nearlight::NEARLIGHT_LEVEL {

// Writes word i of row r among `rows` rows; i counts steps of the kernel (four codes, two bfloat16, a float).
NEARLIGHT_INLINE void put_words(const void* words, int n, uint8_t* to, int64_t r, int64_t rows) {
  for (int i = 0; i < n; i++) std::memcpy(to + 4 * (i * rows + r), static_cast<const uint8_t*>(words) + 4 * i, 4);
}

// Magnitudes compared as integers keep their order, and a NaN is the largest: it becomes the scale and is not lost.
NEARLIGHT_INLINE i32x16 magnitudes(const f32x16& v) { return bits_as<i32x16>(abs(v)); }

// The scale of a block, what takes its inputs to codes, and how it is written.
struct BlockScale {
  float scale, to_code;
  uint32_t bits;
};

// Of scales of few bits, what is smaller has zeros for codes; what is larger, or NaN, counts as NaN.
constexpr float kLeastScale = 0x1p-100f, kMostScale = 0x1p100f;

// A float whose mantissa has `scale_bits` bits, as a scale.
NEARLIGHT_INLINE BlockScale scale_of_few_bits(int scale_bits, uint32_t bits) {
  const float scale = f32_from_bits(bits);
  if (scale < kLeastScale) return {0.0f, 0.0f, bits_from_f32(0x1.8p23f)};
  if (!(scale < kMostScale)) return {NAN, 0.0f, bits_from_f32(NAN)};
  const uint32_t exponent = bits & 0xffu << 23, mantissa = (bits & 0x7fffff) >> (kAnyScale - scale_bits);
  return {scale, 1.0f / scale, (exponent + (23u << 23)) | 1u << 22 | mantissa};
}

// The squared errors of a block's inputs, summed.
NEARLIGHT_INLINE float errors(const f32x16& a, const f32x16& b, const BlockScale& scale) {
  const f32x16 to_code = broadcast(scale.to_code), x = a * to_code, y = b * to_code;
  const f32x16 of_x = x - nearest(x), of_y = y - nearest(y);
  return sum(of_x * of_x + of_y * of_y) * (scale.scale * scale.scale);
}

NEARLIGHT_INLINE BlockScale scale_of(Form form, const f32x16& a, const f32x16& b) {
  const float largest = f32_from_bits(static_cast<uint32_t>(max_lane(max(magnitudes(a), magnitudes(b)))));
  const uint32_t bits = bits_from_f32(largest / 127.0f);
  if (form.scale_bits == kAnyScale) return {f32_from_bits(bits), largest > 0 ? 127.0f / largest : 0.0f, bits};
  const uint32_t unit = 1u << (kAnyScale - form.scale_bits), up = (bits + unit - 1) & ~(unit - 1);
  const BlockScale least = scale_of_few_bits(form.scale_bits, up);
  if (form.scale_bits == 1) return least;  // the next is hardly ever better
  const BlockScale next = scale_of_few_bits(form.scale_bits, up + unit);
  return errors(a, b, next) < errors(a, b, least) ? next : least;
}

// What sums of products with codes of this sum begin with.
NEARLIGHT_INLINE uint32_t start(Form form, int32_t sum, const BlockScale& scale) {
  const bool any = form.scale_bits == kAnyScale;
  if (form.zero_shift == kMins) return bits_from_f32(static_cast<float>(-sum) * (any ? 1.0f : scale.scale));
  return (any ? 0 : scale.bits) - (static_cast<uint32_t>(sum) << form.zero_shift);
}

// inputs a then b, 16 each, of row r
NEARLIGHT_INLINE void put_int8(Form form, const f32x16& a, const f32x16& b, uint8_t* to, int64_t r, int64_t rows) {
  const BlockScale scale = scale_of(form, a, b);
  const f32x16 to_code = broadcast(scale.to_code);
  const i32x16 first = round_to_i32(a * to_code), second = round_to_i32(b * to_code);
  int8_t codes[kBlock];
  store_low_bytes(codes, first);
  store_low_bytes(codes + kLanes, second);
  put_words(codes, kBlock / 4, to, r, rows);
  put_words(&scale.bits, 1, to + kBlock * rows, r, rows);
  const uint32_t starts[] = {start(form, sum(form.groups == 1 ? first + second : first), scale),
                             form.groups == 1 ? 0 : start(form, sum(second), scale)};
  put_words(starts, form.groups, to + (kBlock + 4) * rows, r, rows);
}

NEARLIGHT_INLINE void put_f32(const f32x16& a, const f32x16& b, uint8_t* to, int64_t r, int64_t rows) {
  const f32x16 values[] = {a, b};
  put_words(values, kBlock, to, r, rows);
}

#if defined(__AVX512BF16__)
NEARLIGHT_INLINE void put_bf16(const f32x16& a, const f32x16& b, uint8_t* to, int64_t r, int64_t rows) {
  const __m512bh pairs = _mm512_cvtne2ps_pbh(b.part[0], a.part[0]);
  put_words(&pairs, kBlock / 2, to, r, rows);
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

inline void quantize(Form form, const float* x, int64_t ldx, int64_t n_rows, int64_t n_in, void* quantized,
                     int64_t row_begin, int64_t row_end) {
  const Panels panels(form, n_rows);
  const int64_t blocks = n_blocks(n_in), chunk = chunk_blocks(form, n_rows);
  auto* to_panels = static_cast<uint8_t*>(quantized);
  for (int64_t row = row_begin; row < row_end; row++) {
    const float* from = x + row * ldx;
    const auto [first_row, rows] = panels.at(panels.of_row(row));
    const int64_t r = row - first_row;
    for (int64_t first = 0; first < blocks; first += chunk) {
      const int64_t n = blocks - first < chunk ? blocks - first : chunk;
      uint8_t* to = to_panels + activations_at(form, n_rows, first_row, first, n);
      const size_t block_bytes = static_cast<size_t>(rows) * activation_bytes(form);
      for (int64_t block = first; block < first + n; block++, to += block_bytes) {
        f32x16 a, b;
        load_block(from, block, n_in, a, b);
        switch (form.coding) {
          case Coding::f32: put_f32(a, b, to, r, rows); break;
          case Coding::int8: put_int8(form, a, b, to, r, rows); break;
          case Coding::bf16:
#if defined(__AVX512BF16__)
            put_bf16(a, b, to, r, rows);
#endif
            break;  // form() never names it elsewhere
        }
      }
    }
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
