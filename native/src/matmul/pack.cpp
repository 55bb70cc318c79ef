// Repacks stored rows into tiles (layout.h); the same bytes whatever the instruction level, so they can be kept on
// disk.
//
// Four codes are moved at a time, as one 32-bit word. A share of the tiles is independent of the others: threads need
// no copy in between and no lock.
#include <algorithm>

#include "layout.h"
#include "stored.h"

namespace nearlight {
namespace {

// Writes a block's codes into lane `lane` of its planes.
void put_codes(const Layout& layout, const uint8_t* codes, uint8_t* block, int lane) {
  uint32_t words[8];
  std::memcpy(words, codes, kBlock);
  const auto put = [&](int vector, uint32_t word) { std::memcpy(block + 64 * vector + 4 * lane, &word, 4); };
  const uint32_t low_mask = 0x01010101u * ((1u << layout.low_bits) - 1);
  const auto low = [&](int j) { return words[j] & low_mask; };
  switch (layout.low_bits) {
    case 8:
      for (int j = 0; j < 8; j++) put(j, words[j]);
      break;
    case 4:
      for (int p = 0; p < 4; p++) put(p, low(p) | low(p + 4) << 4);
      break;
    case 2:
      for (int q = 0; q < 2; q++) put(q, low(q) | low(q + 2) << 2 | low(q + 4) << 4 | low(q + 6) << 6);
      break;
  }
  const auto high = [&](int j) { return (words[j] & ~low_mask) >> layout.low_bits; };
  const int first = layout.low_vectors();
  if (layout.high_bits == 2) {
    for (int q = 0; q < 2; q++) put(first + q, high(q) | high(q + 2) << 2 | high(q + 4) << 4 | high(q + 6) << 6);
  } else if (layout.high_bits == 1) {
    uint32_t bits = 0;
    for (int j = 0; j < 8; j++) bits |= high(j) << j;
    put(first, bits);
  }
}

bool put_scales(const Layout& layout, const StoredBlock& block, uint8_t* scales, int lane) {
  for (int i = 0; i < layout.n_bytes; i++) scales[kLanes * i + lane] = block.bytes[i];
  bool finite = layout.n_halves > 0 || block.bytes[0] != 0xff;  // MXFP4's NaN
  for (int i = 0; i < layout.n_halves; i++) {
    std::memcpy(scales + kLanes * layout.n_bytes + 2 * (kLanes * i + lane), &block.halves[i], 2);
    finite &= (block.halves[i] & 0x7c00) != 0x7c00;
  }
  return finite;
}

int64_t pack_tile(const Matrix& m, const uint8_t* rows, size_t row_stride, int64_t tile) {
  const Layout& layout = layout_of(m.format);
  auto* codes = const_cast<uint8_t*>(m.codes(tile));
  auto* scales = const_cast<uint8_t*>(m.scales(tile));
  if ((tile + 1) * kLanes > m.n_out) {
    std::memset(codes, 0, m.tile_codes);
    std::memset(scales, 0, m.tile_scales);
  }
  int64_t bad_row = -1;
  const int blocks = layout.stored_block / kBlock;
  StoredBlock stored;
  for (int lane = 0; lane < kLanes && tile * kLanes + lane < m.n_out; lane++) {
    const int64_t row = tile * kLanes + lane;
    const uint8_t* from = rows + static_cast<size_t>(lane) * row_stride;
    uint8_t *to = codes, *to_scales = scales;
    for (int64_t done = 0; done < m.n_in; done += layout.stored_block) {
      take_apart(m.format, from, stored);
      for (int i = 0; i < blocks; i++, to += 64 * layout.block_vectors()) {
        put_codes(layout, stored.codes + kBlock * i, to, lane);
      }
      if (!put_scales(layout, stored, to_scales, lane) && bad_row < 0) bad_row = row;
      from += layout.stored_bytes();
      to_scales += kLanes * layout.scale_bytes();
    }
  }
  return bad_row;
}

// Moves `Group`s of neighbouring inputs, a step of the kernels: all rows' first, all rows' second ...
template <typename Group>
void pack_float_tile(const Matrix& m, const uint8_t* rows, size_t row_stride, int64_t tile) {
  constexpr int64_t step_bytes = kLanes * static_cast<int64_t>(sizeof(Group));
  auto* to = const_cast<uint8_t*>(float_step(m, tile, 0, step_bytes));
  const auto stride = static_cast<size_t>(float_group(m, tile) * step_bytes);
  const auto lanes = static_cast<int>(std::min<int64_t>(kLanes, m.n_out - tile * kLanes));
  const size_t row_bytes = stored_row_bytes(m.format, m.n_in), whole = row_bytes / sizeof(Group);
  const auto put = [&](size_t group, int lane, size_t n_bytes) {
    Group values = 0;
    if (lane < lanes) std::memcpy(&values, rows + static_cast<size_t>(lane) * row_stride + group * sizeof(Group), n_bytes);
    std::memcpy(to + group * stride + static_cast<size_t>(lane) * sizeof(Group), &values, sizeof(Group));
  };
  for (size_t group = 0; group < whole; group++) {
    for (int lane = 0; lane < kLanes; lane++) put(group, lane, sizeof(Group));
  }
  if (row_bytes % sizeof(Group)) {  // the last group is padded with zeros
    for (int lane = 0; lane < kLanes; lane++) put(whole, lane, row_bytes % sizeof(Group));
  }
}

}  // namespace

size_t stored_row_bytes(Format format, int64_t n_in) {
  const Layout& layout = layout_of(format);
  const int64_t blocks = (n_in + layout.stored_block - 1) / layout.stored_block;
  return static_cast<size_t>(blocks) * static_cast<size_t>(layout.stored_bytes());
}

Matrix describe(Format format, int64_t n_out, int64_t n_in) {
  const Layout& layout = layout_of(format);
  const int64_t n_tiles = (n_out + kLanes - 1) / kLanes;
  const int64_t even = format == Format::BF16 ? n_in + n_in % 2 : n_in;
  const size_t blocks = static_cast<size_t>((even + layout.stored_block - 1) / layout.stored_block);
  const size_t scales = blocks * static_cast<size_t>(kLanes * layout.scale_bytes());
  const size_t codes = blocks * static_cast<size_t>(kLanes * (layout.stored_bytes() - layout.scale_bytes()));
  return {format, n_out, n_in, n_tiles, codes, scales, nullptr, n_tiles, 0};
}

int64_t view_granularity(Format format) { return is_float(format) ? kFloatGroup * kLanes : kLanes; }

Matrix view(const Matrix& matrix, int64_t first_row, int64_t end_row) {
  Matrix rows = matrix;
  rows.n_out = end_row - first_row;
  rows.n_tiles = (rows.n_out + kLanes - 1) / kLanes;
  rows.first_tile += first_row / kLanes;
  return rows;
}

int64_t pack(const Matrix& m, const uint8_t* rows, size_t row_stride, int64_t tile_begin, int64_t tile_end) {
  int64_t bad_row = -1;
  for (int64_t tile = tile_begin; tile < tile_end; tile++, rows += kLanes * row_stride) {
    switch (m.format) {
      case Format::F32:
        pack_float_tile<uint32_t>(m, rows, row_stride, tile);
        break;
      case Format::F16:
        pack_float_tile<uint16_t>(m, rows, row_stride, tile);
        break;
      case Format::BF16:
        pack_float_tile<uint32_t>(m, rows, row_stride, tile);
        break;
      default: {
        const int64_t row = pack_tile(m, rows, row_stride, tile);
        if (bad_row < 0) bad_row = row;
      }
    }
  }
  return bad_row;
}

size_t quantized_bytes(Form form, int64_t n_rows, int64_t n_in) {
  return static_cast<size_t>(n_rows * n_blocks(n_in)) * activation_bytes(form);
}

}  // namespace nearlight
