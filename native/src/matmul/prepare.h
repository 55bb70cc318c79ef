// Activations made ready for the kernels (layout.h): panels of rows, blocks of 32 inputs, zeros past n_in.
//
// int8 codes are symmetric, with a scale per row and block: an outlier spoils 31 neighbours only. A share of the work is
// a range of (panel, block) pairs, so that a single row can be shared by threads too.
#pragma once

#include "panels.h"

namespace nearlight::NEARLIGHT_LEVEL {

NEARLIGHT_INLINE void quantize_block(const f32x16& a, const f32x16& b, uint8_t* record, int64_t r, int64_t rows) {
  const float largest = max_lane(max(abs(a), abs(b)));
  const f32x16 to_code = broadcast(largest > 0 ? 127.0f / largest : 0.0f);
  int32_t codes[kBlock], minus_sums[3] = {};
  store(codes, round_to_i32(a * to_code));
  store(codes + kLanes, round_to_i32(b * to_code));
  for (int i = 0; i < kBlock; i++) {
    record[(i / 4 * rows + r) * 4 + i % 4] = static_cast<uint8_t>(codes[i]);
    minus_sums[i / kLanes] -= codes[i];
  }
  minus_sums[2] = minus_sums[0] + minus_sums[1];
  const float scale = largest / 127.0f;
  uint8_t* numbers = record + kBlock * rows;
  std::memcpy(numbers + 4 * r, &scale, 4);
  for (int i = 0; i < 3; i++) std::memcpy(numbers + 4 * (rows * (1 + i) + r), &minus_sums[i], 4);
}

NEARLIGHT_INLINE void prepare_block(Form form, const f32x16& a, const f32x16& b, uint8_t* record, int64_t r,
                                    int64_t rows) {
  if (form == Form::int8) return quantize_block(a, b, record, r, rows);
  float values[kBlock];
  store(values, a);
  store(values + kLanes, b);
  for (int i = 0; i < kBlock; i++) {
    if (form == Form::f32) {
      std::memcpy(record + 4 * (i * rows + r), &values[i], 4);
    } else {
      const uint16_t rounded = bf16_from_f32(values[i]);
      std::memcpy(record + 2 * ((i / 2 * rows + r) * 2 + i % 2), &rounded, 2);
    }
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
      prepare_block(form, a, b, record, r, rows);
    }
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
