// Products of quantized weights with int8 activations.
//
// Per group of 32 inputs (16 in some formats), tile of 16 output rows and activation row: eight (four) dot products of
// four, in integers and exact, then
//
//     t    = scale * float(dots - zero * sum)              or, in a format with mins,
//     t    = scale * float(dots) - min * float(sum)
//     acc += activation scale * t
//
// one accumulator per output element, over groups in ascending order. Both kernels end a group with the same function,
// so their results have the same bits. The zero point is settled by starting the integers at -zero * sum.
//
// few rows (1 .. kFewRows)   codes are opened in registers and meet all rows at once; bound by reading the matrix while
//                            ten multiplying instructions per row and block take less time than its bytes
// many rows                  a pair of tiles is opened into a scratch of kChunk blocks that stays in the nearest cache;
//                            then panels of kPanelRows rows run over it. 96 dot products per block of a 6 by 2 panel
//                            against 24 multiplications (48 with groups of 16): at most 80 % (67 %) of the peak
#pragma once

#include "codes.h"
#include "panels.h"

namespace nearlight::NEARLIGHT_LEVEL {

// The prepared activations of one block and R rows (layout.h).
template <int R>
struct Record {
  const uint8_t* at;

  NEARLIGHT_MEMBER s8x64 codes(int j, int r) const {
    return broadcast4(reinterpret_cast<const int8_t*>(at) + 4 * (j * R + r));
  }
  NEARLIGHT_MEMBER f32x16 scale(int r) const {
    float value;
    std::memcpy(&value, at + kBlock * R + 4 * r, 4);
    return broadcast(value);
  }
  template <int groups>
  NEARLIGHT_MEMBER i32x16 minus_sum(int group, int r) const {
    const int which = groups == 1 ? 2 : group;
    int32_t value;
    std::memcpy(&value, at + kBlock * R + 4 * (R * (1 + which) + r), 4);
    return broadcast(value);
  }
};

// What `Scales` says of a format, as far as the sums of a group depend on it: formats alike share their panel kernels.
template <int groups, bool min, bool seven_bits>
struct Kind {
  static constexpr int kGroups = groups, kSteps = 8 / groups;  // steps of four inputs in a group
  static constexpr bool kMin = min;

  template <int R>
  NEARLIGHT_MEMBER static i32x16 begin(const Record<R>& record, int group, int r, int zero_shift) {
    return kMin ? i32x16{} : record.template minus_sum<groups>(group, r) << zero_shift;
  }

  NEARLIGHT_MEMBER static i32x16 add(const i32x16& dots, const u8x64& codes, const s8x64& activations) {
    return seven_bits ? dot4_7bit(dots, codes, activations) : dot4(dots, codes, activations);
  }

  template <int R>
  NEARLIGHT_MEMBER static f32x16 end(const i32x16& dots, const f32x16& scale, const f32x16& min_of_group,
                                     const Record<R>& record, int group, int r, const f32x16& acc) {
    f32x16 t = to_f32(dots) * scale;
    if constexpr (kMin) t = fma(to_f32(record.template minus_sum<groups>(group, r)), min_of_group, t);
    return fma(t, record.scale(r), acc);
  }
};

template <Format F>
using KindOf = Kind<Scales<F>::kGroups, Scales<F>::kMin, kSevenBits<F>>;

// ---- few rows ------------------------------------------------------------------------------------------------------

template <Format F, int R>
void few_rows(const Matrix& m, const uint8_t* prepared, const Output& out, int64_t tile_begin, int64_t tile_end) {
  using K = KindOf<F>;
  constexpr Layout layout = layout_of(F);
  constexpr int kBlocks = layout.stored_block / kBlock, kBlockBytes = 64 * layout.block_vectors();
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
        for (int g = 0; g < K::kGroups; g++) {
          const int group = block * K::kGroups + g;
          const f32x16 scale = scales.scale(group), min = scales.min(group);
          i32x16 dots[R];
          for (int r = 0; r < R; r++) dots[r] = K::begin(record, g, r, Scales<F>::kZeroShift);
          for (int step = 0; step < K::kSteps; step++) {  // rows innermost: their sums do not wait for each other
            const int j = g * K::kSteps + step;
            for (int r = 0; r < R; r++) dots[r] = K::add(dots[r], codes[j], record.codes(j, r));
          }
          for (int r = 0; r < R; r++) acc[r] = K::end(dots[r], scale, min, record, g, r, acc[r]);
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
  alignas(64) float scales[kChunk][2][kPanelTiles][kLanes];
  alignas(64) float mins[kChunk][2][kPanelTiles][kLanes];
};

template <Format F>
void open_tiles(const Matrix& m, int64_t tile, int n_tiles, int64_t first, int n, Scratch& scratch) {
  using K = KindOf<F>;
  constexpr Layout layout = layout_of(F);
  constexpr int kBlocks = layout.stored_block / kBlock;
  static_assert(kChunk % kBlocks == 0);
  for (int t = 0; t < n_tiles; t++) {
    const uint8_t* codes_at = m.codes(tile + t) + first * (64 * layout.block_vectors());
    const uint8_t* scales_at = m.scales(tile + t) + first / kBlocks * (kLanes * layout.scale_bytes());
    for (int done = 0; done < n; done += kBlocks) {
      const Scales<F> scales(scales_at);
      for (int block = 0; block < kBlocks && done + block < n; block++) {
        u8x64 codes[8];
        unpack<F>(codes_at, codes);
        for (int j = 0; j < 8; j++) store(scratch.codes[done + block][t][j], codes[j]);
        for (int g = 0; g < K::kGroups; g++) {
          store(scratch.scales[done + block][g][t], scales.scale(block * K::kGroups + g));
          if constexpr (K::kMin) store(scratch.mins[done + block][g][t], scales.min(block * K::kGroups + g));
        }
        codes_at += 64 * layout.block_vectors();
      }
      scales_at += kLanes * layout.scale_bytes();
    }
  }
}

// R rows by kPanelTiles tiles over the blocks of a chunk. Its sums go on from y and back to y.
template <class K, int R>
void panel(const Scratch& scratch, const Chunk& chunk, const uint8_t* record_at, int zero_shift, const Output& out) {
  constexpr int T = kPanelTiles;
  f32x16 sums[T][R], acc[T][R];
  out.take_up(chunk, sums);
  copy(acc, sums);
  for (int block = 0; block < chunk.n; block++, record_at += record_bytes(Form::int8) * R) {
    const Record<R> record{record_at};
    for (int g = 0; g < K::kGroups; g++) {
      i32x16 dots[T][R];
      for (int r = 0; r < R; r++) {
        const i32x16 start = K::begin(record, g, r, zero_shift);
        for (int t = 0; t < T; t++) dots[t][r] = start;
      }
#pragma GCC unroll 8  // or GCC keeps the sums in memory
      for (int step = 0; step < K::kSteps; step++) {
        const int j = g * K::kSteps + step;
        u8x64 codes[T];
        for (int t = 0; t < T; t++) codes[t] = load(scratch.codes[block][t][j]);
        for (int r = 0; r < R; r++) {
          const s8x64 activations = record.codes(j, r);
          for (int t = 0; t < T; t++) dots[t][r] = K::add(dots[t][r], codes[t], activations);
        }
      }
      for (int t = 0; t < T; t++) {
        const f32x16 scale = load(scratch.scales[block][g][t]), min = load(scratch.mins[block][g][t]);
        for (int r = 0; r < R; r++) acc[t][r] = K::end(dots[t][r], scale, min, record, g, r, acc[t][r]);
      }
    }
  }
  copy(sums, acc);
  out.put_down(chunk, sums);
}

template <Format F>
void many_rows(const Matrix& m, const uint8_t* prepared, int64_t n_rows, const Output& out, int64_t tile_begin,
               int64_t tile_end) {
  using Panel = void (*)(const Scratch&, const Chunk&, const uint8_t*, int, const Output&);
  static constexpr auto panels = []<int... r>(std::integer_sequence<int, r...>) {
    return Table<Panel, kPanelRows>{{panel<KindOf<F>, r + 1>...}};
  }(std::make_integer_sequence<int, kPanelRows>{});
  Scratch scratch;
  const int64_t blocks = n_blocks(m.n_in);
  for (int64_t first = 0; first < blocks; first += kChunk) {  // outermost: a chunk of all rows stays in the next cache
    const int n = blocks - first < kChunk ? static_cast<int>(blocks - first) : kChunk;
    for (int64_t tile = tile_begin; tile < tile_end; tile += kPanelTiles) {
      const int n_tiles = tile_end - tile < kPanelTiles ? static_cast<int>(tile_end - tile) : kPanelTiles;
      open_tiles<F>(m, tile, n_tiles, first, n, scratch);
      for (int64_t row = 0; row < n_rows; row += kPanelRows) {
        const int rows = n_rows - row < kPanelRows ? static_cast<int>(n_rows - row) : kPanelRows;
        const uint8_t* records = prepared + static_cast<size_t>(row * blocks + first * rows) * record_bytes(Form::int8);
        const Chunk chunk{row, tile, n_tiles, n, first == 0, first + n == blocks};
        panels.at[rows - 1](scratch, chunk, records, Scales<F>::kZeroShift, out);
      }
    }
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
