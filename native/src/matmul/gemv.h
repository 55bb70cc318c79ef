// Products with few rows: one panel, whose codes are opened in registers as the matrix streams by.
#pragma once

#include "int8.h"

namespace nearlight::NEARLIGHT_LEVEL {

// Not inlined on purpose: a loop over rows that is not unrolled would keep the sums of its caller in memory.
template <int T, int R>
[[gnu::noinline]] void finish_rows(const Output& out, int64_t tile, int n_tiles, const f32x16 (&sums)[T][R]) {
  for (int t = 0; t < n_tiles; t++) {
    for (int r = 0; r < R; r++) out.finish(r, tile + t, sums[t][r]);
  }
}

// The fewest rows wait for nothing but memory, and the lines ahead go to the nearest cache.
constexpr int kStreamedRows = 4;

// Two tiles share the activations that are loaded for some more rows. For the most, the sums of one tile fill the
// registers; groups of 16, which end twice as often, have the fewer left.
template <Format F>
constexpr int gemv_tiles(int rows) {
  return rows <= kStreamedRows || rows > (KindOf<F>::kGroups == 1 ? 8 : 6) ? 1 : kPanelTiles;
}

template <Format F, int R>
void gemv(const Matrix& m, const uint8_t* quantized, const Output& out, int64_t tile_begin, int64_t tile_end) {
  using K = KindOf<F>;
  using S = Stored<F>;
  constexpr bool kStreams = R <= kStreamedRows || kRegisters > 1, kMade = makes_multiples(K::kScaleBits, R);
  constexpr int T = gemv_tiles<F>(R);
  const int64_t blocks = n_blocks(m.n_in);
  for (int64_t tile = tile_begin; tile < tile_end; tile += T) {
    const int n_tiles = tile_end - tile < T ? static_cast<int>(tile_end - tile) : T;
    Tiles tiles(m, tile, n_tiles);
    Ahead ahead{m.codes(tile + T), m.scales(tile + T), T * S::kCodeBytes, T * S::kScaleBytes};
    const uint8_t* x = quantized;
    f32x16 acc[T][R] = {};
    for (int64_t first = 0; first < blocks; first += S::kBlocks) {
      const TileScales<F, T> scales(tiles);
      if constexpr (!kStreams) ahead.ask_for_scales();
      const int n = blocks - first < S::kBlocks ? static_cast<int>(blocks - first) : S::kBlocks;
      for (int block = 0; block < n; block++) {
        if constexpr (!kStreams) ahead.ask_for_codes();
        if constexpr (kStreams || kRegisters > 1) {
          add_block(BlockInRegisters<F>(tiles, scales, block), x, acc);
        } else {
          Group<K, T, kMade> groups[K::kGroups];
          add_block(PackedBlock<F, T, kMade>{tiles, scales, block * K::kGroups, groups, nullptr, 0}, x, acc);
        }
        for (int i = 0; kStreams && i < S::kCodeBytes; i += 64) prefetch(tiles.codes + kPrefetchBytes + i);
        tiles.codes += S::kCodeBytes;
        x += K::kActivationBytes * R;
      }
      tiles.scales += S::kScaleBytes;
    }
    f32x16 sums[T][R];
    copy(sums, acc);
    finish_rows(out, tile, n_tiles, sums);
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
