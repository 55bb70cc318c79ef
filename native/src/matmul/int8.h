// Products of quantized weights with int8 activations.
//
// Per block of 32 inputs, tile of 16 output rows and activation row: eight dot products of four (integers, exact), then
//
//     t    = scale * float(dots - zero * sum)              or, in a format with mins,
//     t    = scale * float(dots) - min * float(sum)        (each once per 16 inputs where kHalves is 2)
//     acc += activation scale * t
//
// one accumulator per output element, over blocks in ascending order. Both kernels end a block with the same function,
// so their results have the same bits. The zero point is settled by starting the integers at -zero * sum.
//
// few rows (1 .. kFewRows)   codes are opened in registers and meet all rows at once; bound by reading the matrix while
//                            rows * 10 instructions per block take less time than its bytes
// many rows                  a pair of tiles is opened into a scratch of kChunk blocks that stays in the nearest cache;
//                            then panels of kPanelRows rows run over it. 96 dot products per block of a 6 by 2 panel
//                            against 24 multiplications: at most 80 % of the peak
#pragma once

#include "codes.h"
#include "panels.h"

namespace nearlight::NEARLIGHT_LEVEL {

// The prepared activations of one block and R rows.
template <int R>
struct Record {
  const uint8_t* at;
  NEARLIGHT_MEMBER s8x64 codes(int j, int r) const { return broadcast4(reinterpret_cast<const int8_t*>(at) + 4 * (j * R + r)); }
  NEARLIGHT_MEMBER f32x16 scale(int r) const {
    float value;
    std::memcpy(&value, at + kBlock * R + 4 * r, 4);
    return broadcast(value);
  }
  NEARLIGHT_MEMBER i32x16 minus_sum(int which, int r) const {  // of the first half, the second, the whole
    int32_t value;
    std::memcpy(&value, at + kBlock * R + 4 * (R * (1 + which) + r), 4);
    return broadcast(value);
  }
};

// What a format leaves to the end of a block.
template <int kHalves, bool kMin>
struct Group {
  f32x16 scale[kHalves], min[kHalves];
};

template <int kHalves, bool kMin, int R>
NEARLIGHT_INLINE void begin_block(i32x16 (&dots)[kHalves], const Record<R>& record, int r, int zero_shift) {
  for (int h = 0; h < kHalves; h++) {
    dots[h] = kMin ? i32x16{} : record.minus_sum(kHalves == 1 ? 2 : h, r) << zero_shift;
  }
}

template <int kHalves, bool kMin, int R>
NEARLIGHT_INLINE f32x16 end_block(const i32x16 (&dots)[kHalves], const Group<kHalves, kMin>& group,
                                  const Record<R>& record, int r, const f32x16& acc) {
  f32x16 t = to_f32(dots[0]) * group.scale[0];
  if constexpr (kHalves == 2) t = fma(to_f32(dots[1]), group.scale[1], t);
  if constexpr (kMin) {
    for (int h = 0; h < kHalves; h++) t = fma(to_f32(record.minus_sum(kHalves == 1 ? 2 : h, r)), group.min[h], t);
  }
  return fma(t, record.scale(r), acc);
}

template <Format F>
NEARLIGHT_INLINE Group<Scales<F>::kHalves, Scales<F>::kMin> group_of(const Scales<F>& scales, int block) {
  Group<Scales<F>::kHalves, Scales<F>::kMin> group;
  for (int h = 0; h < Scales<F>::kHalves; h++) {
    group.scale[h] = scales.scale(block * Scales<F>::kHalves + h);
    if constexpr (Scales<F>::kMin) group.min[h] = scales.min(block * Scales<F>::kHalves + h);
  }
  return group;
}

template <bool kSeven>
NEARLIGHT_INLINE i32x16 dot(const i32x16& acc, const u8x64& codes, const s8x64& activations) {
  return kSeven ? dot4_7bit(acc, codes, activations) : dot4(acc, codes, activations);
}

// ---- few rows ------------------------------------------------------------------------------------------------------

template <Format F, int R>
void few_rows(const Matrix& m, const uint8_t* prepared, const Output& out, int64_t tile_begin, int64_t tile_end) {
  constexpr Layout layout = layout_of(F);
  constexpr int kHalves = Scales<F>::kHalves, kBlockBytes = 64 * layout.block_vectors();
  constexpr bool kMin = Scales<F>::kMin;
  constexpr int kBlocks = layout.stored_block / kBlock;  // of 32 inputs in a stored block
  const int64_t blocks = n_blocks(m.n_in);
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    const uint8_t *codes_at = m.codes(tile), *scales_at = m.scales(tile), *record_at = prepared;
    f32x16 acc[R] = {};
    for (int64_t first = 0; first < blocks; first += kBlocks) {
      const Scales<F> scales(scales_at);
      const int n = blocks - first < kBlocks ? static_cast<int>(blocks - first) : kBlocks;
      for (int block = 0; block < n; block++) {
        for (int i = 0; i < kBlockBytes; i += 64) prefetch(codes_at + kPrefetchBytes + i);
        const Record<R> record{record_at};
        u8x64 codes[8];
        unpack<F>(codes_at, codes);
        const auto group = group_of<F>(scales, block);
        for (int r = 0; r < R; r++) {
          i32x16 dots[kHalves];
          begin_block<kHalves, kMin>(dots, record, r, Scales<F>::kZeroShift);
          for (int j = 0; j < 8; j++) {
            i32x16& half = dots[j * kHalves / 8];
            half = dot<kSevenBits<F>>(half, codes[j], record.codes(j, r));
          }
          acc[r] = end_block<kHalves, kMin>(dots, group, record, r, acc[r]);
        }
        codes_at += kBlockBytes;
        record_at += record_bytes(Form::int8) * R;
      }
      scales_at += kLanes * layout.scale_bytes();
    }
    for (int r = 0; r < R; r++) out.finish(r, tile, acc[r]);
  }
}

// ---- many rows -----------------------------------------------------------------------------------------------------

// The opened codes and scales of kPanelTiles tiles and up to kChunk blocks.
struct Scratch {
  alignas(64) uint8_t codes[kChunk][kPanelTiles][8][64];
  alignas(64) float scales[kChunk][kPanelTiles][2][kLanes];
  alignas(64) float mins[kChunk][kPanelTiles][2][kLanes];
};

template <Format F>
void open_tiles(const Matrix& m, int64_t tile, int n_tiles, int64_t first, int n, Scratch& scratch) {
  constexpr Layout layout = layout_of(F);
  constexpr int kBlocks = layout.stored_block / kBlock;
  for (int t = 0; t < n_tiles; t++) {
    const uint8_t* codes_at = m.codes(tile + t) + first * (64 * layout.block_vectors());
    const uint8_t* scales_at = m.scales(tile + t) + first / kBlocks * (kLanes * layout.scale_bytes());
    for (int done = 0; done < n; done += kBlocks) {
      const Scales<F> scales(scales_at);
      for (int block = 0; block < kBlocks && done + block < n; block++) {
        u8x64 codes[8];
        unpack<F>(codes_at, codes);
        for (int j = 0; j < 8; j++) store(scratch.codes[done + block][t][j], codes[j]);
        const auto group = group_of<F>(scales, block);
        for (int h = 0; h < Scales<F>::kHalves; h++) {
          store(scratch.scales[done + block][t][h], group.scale[h]);
          if constexpr (Scales<F>::kMin) store(scratch.mins[done + block][t][h], group.min[h]);
        }
        codes_at += 64 * layout.block_vectors();
      }
      scales_at += kLanes * layout.scale_bytes();
    }
  }
}

// R rows by kPanelTiles tiles over n blocks of the scratch, acc going on from where the last chunk stopped.
template <int kHalves, bool kMin, bool kSeven, int R>
void panel(const Scratch& scratch, int n, const uint8_t* record_at, int zero_shift, f32x16 (&acc)[kPanelTiles][R]) {
  for (int block = 0; block < n; block++, record_at += record_bytes(Form::int8) * R) {
    const Record<R> record{record_at};
    i32x16 dots[kPanelTiles][R][kHalves];
    for (int r = 0; r < R; r++) {
      begin_block<kHalves, kMin>(dots[0][r], record, r, zero_shift);
      for (int t = 1; t < kPanelTiles; t++) {
        for (int h = 0; h < kHalves; h++) dots[t][r][h] = dots[0][r][h];
      }
    }
    for (int j = 0; j < 8; j++) {
      u8x64 codes[kPanelTiles];
      for (int t = 0; t < kPanelTiles; t++) codes[t] = load(scratch.codes[block][t][j]);
      for (int r = 0; r < R; r++) {
        const s8x64 activations = record.codes(j, r);
        for (int t = 0; t < kPanelTiles; t++) {
          i32x16& half = dots[t][r][j * kHalves / 8];
          half = dot<kSeven>(half, codes[t], activations);
        }
      }
    }
    for (int t = 0; t < kPanelTiles; t++) {
      Group<kHalves, kMin> group;
      for (int h = 0; h < kHalves; h++) {
        group.scale[h] = load(scratch.scales[block][t][h]);
        if constexpr (kMin) group.min[h] = load(scratch.mins[block][t][h]);
      }
      for (int r = 0; r < R; r++) acc[t][r] = end_block<kHalves, kMin>(dots[t][r], group, record, r, acc[t][r]);
    }
  }
}

// One panel over one chunk: takes up the sums of earlier chunks from y, and leaves them there.
template <int kHalves, bool kMin, bool kSeven, int R>
void panel_chunk(const Scratch& scratch, const Chunk& chunk, const uint8_t* records, int zero_shift, const Output& out) {
  f32x16 acc[kPanelTiles][R] = {};
  out.take_up(chunk, acc);
  panel<kHalves, kMin, kSeven, R>(scratch, chunk.n, records, zero_shift, acc);
  out.put_down(chunk, acc);
}

template <Format F>
void many_rows(const Matrix& m, const uint8_t* prepared, int64_t n_rows, const Output& out, int64_t tile_begin,
               int64_t tile_end) {
  using PanelChunk = void (*)(const Scratch&, const Chunk&, const uint8_t*, int, const Output&);
  static constexpr auto kernels = []<int... r>(std::integer_sequence<int, r...>) {
    return Table<PanelChunk, kPanelRows>{
        {panel_chunk<Scales<F>::kHalves, Scales<F>::kMin, kSevenBits<F>, r + 1>...}};
  }(std::make_integer_sequence<int, kPanelRows>{});
  Scratch scratch;
  const int64_t blocks = n_blocks(m.n_in);
  const size_t row_bytes = static_cast<size_t>(blocks) * record_bytes(Form::int8);
  for (int64_t tile = tile_begin; tile < tile_end; tile += kPanelTiles) {
    const int n_tiles = tile_end - tile < kPanelTiles ? static_cast<int>(tile_end - tile) : kPanelTiles;
    for (int64_t first = 0; first < blocks; first += kChunk) {
      const int n = blocks - first < kChunk ? static_cast<int>(blocks - first) : kChunk;
      open_tiles<F>(m, tile, n_tiles, first, n, scratch);
      for (int64_t row = 0; row < n_rows; row += kPanelRows) {
        const int rows = n_rows - row < kPanelRows ? static_cast<int>(n_rows - row) : kPanelRows;
        const uint8_t* records = prepared + static_cast<size_t>(row) * row_bytes +
                                 static_cast<size_t>(first * rows) * record_bytes(Form::int8);
        const Chunk chunk{row, tile, n_tiles, n, first == 0, first + n == blocks};
        kernels.at[rows - 1](scratch, chunk, records, Scales<F>::kZeroShift, out);
      }
    }
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
