// Activations made ready for the kernels (layout.h): panels of rows, blocks of 32 inputs, zeros past n_in.
//
// int8 codes are symmetric, with a scale per row and block, so an outlier spoils 31 neighbours only. Scales per 256
// would spare the kernels a multiplication in ten but cost accuracy. Error of products (rms), per 32 and per 256: 0.5 %
// and 0.7 % with normal activations, 0.9 % and 1.6 % with gated ones, 1.1 % and 3.1 % if a few channels are 30 times
// larger.
//
// A share of the work is a range of (panel, block) pairs, so that a single row can be shared by threads too.
#pragma once

#include "panels.h"

namespace nearlight::NEARLIGHT_LEVEL {

// Writes word i of row r among `rows` rows; i counts steps of the kernel (four codes, two bfloat16, a float).
NEARLIGHT_INLINE void put_words(const void* words, int n, uint8_t* record, int64_t r, int64_t rows) {
  for (int i = 0; i < n; i++) std::memcpy(record + 4 * (i * rows + r), static_cast<const uint8_t*>(words) + 4 * i, 4);
}

// inputs a then b, 16 each, of row r
NEARLIGHT_INLINE void put_int8(const f32x16& a, const f32x16& b, uint8_t* record, int64_t r, int64_t rows) {
  // Compared as integers, magnitudes keep their order and a NaN is the largest: it becomes the scale and is not lost.
  const i32x16 magnitudes = max(bits_as<i32x16>(abs(a)), bits_as<i32x16>(abs(b)));
  const float largest = f32_from_bits(static_cast<uint32_t>(max_lane(magnitudes)));
  const f32x16 to_code = broadcast(largest > 0 ? 127.0f / largest : 0.0f);
  const i32x16 first = round_to_i32(a * to_code), second = round_to_i32(b * to_code);
  int8_t codes[kBlock];
  store_low_bytes(codes, first);
  store_low_bytes(codes + kLanes, second);
  put_words(codes, kBlock / 4, record, r, rows);
  const float scale = largest / 127.0f;
  const int32_t sums[] = {-sum(first), -sum(second), -sum(first + second)};
  put_words(&scale, 1, record + kBlock * rows, r, rows);
  put_words(sums, 3, record + (kBlock + 4) * rows, r, rows);
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

NEARLIGHT_INLINE void put_block(Form form, const f32x16& a, const f32x16& b, uint8_t* record, int64_t r, int64_t rows) {
  switch (form) {
    case Form::f32: return put_f32(a, b, record, r, rows);
    case Form::int8: return put_int8(a, b, record, r, rows);
    case Form::bf16:
#if defined(__AVX512BF16__)
      return put_bf16(a, b, record, r, rows);
#else
      return;  // form() never names it here
#endif
  }
}

inline void prepare(Form form, const float* x, int64_t ldx, int64_t n_rows, int64_t n_in, void* prepared, int part,
                    int parts) {
  const int64_t height = panel_rows(n_rows), blocks = n_blocks(n_in), panels = (n_rows + height - 1) / height;
  const int64_t end = panels * blocks * (part + 1) / parts;
  for (int64_t unit = panels * blocks * part / parts; unit < end; unit++) {
    const int64_t row = unit / blocks * height, block = unit % blocks;
    const int64_t rows = n_rows - row < height ? n_rows - row : height;
    uint8_t* record = static_cast<uint8_t*>(prepared) +
                      static_cast<size_t>(row * blocks + block * rows) * record_bytes(form);
    const float* from = x + row * ldx + block * kBlock;
    const int64_t n = n_in - block * kBlock;
    for (int64_t r = 0; r < rows; r++, from += ldx) {
      const f32x16 a = n >= kLanes ? load(from) : load_lanes(from, static_cast<int>(n));
      const f32x16 b = n >= kBlock   ? load(from + kLanes)
                       : n > kLanes ? load_lanes(from + kLanes, static_cast<int>(n) - kLanes)
                                    : f32x16{};
      put_block(form, a, b, record, r, rows);
    }
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
