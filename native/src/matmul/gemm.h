// Products with many rows: panels that meet two tiles one after the other, a chunk of inputs at a time.
#pragma once

#include "int8.h"

namespace nearlight::NEARLIGHT_LEVEL {

constexpr int kPanelsPerPass = 96;  // that meet the same tiles before the next; their sums stay near too

// What the first panel keeps for the others: opened codes and multiples of scales of kPanelTiles tiles and up to
// kBlocks blocks. And the sums of a pass.
template <class K, bool made>
struct Scratch {
  static constexpr int kBlocks = static_cast<int>(chunk_blocks(K::kForm, made ? kRowsForMultiples : 0));
  alignas(64) uint8_t codes[kPanelTiles][kBlocks][8][64];
  Group<K, kPanelTiles, made> groups[kBlocks][K::kGroups];
  alignas(64) float sums[kPanelsPerPass * kPanelRows][kPanelTiles][kLanes];
};

// What one call of a panel works on: n blocks of a chunk, and where its sums come from and go to. Between chunks they
// wait in the scratch, whose bits a store and a load do not change; from the last they go straight to whole tiles of y.
struct PanelWork {
  Tiles tiles;
  Ahead ahead;
  int n;
  bool first;
  const uint8_t* x;
  float (*sums)[kPanelTiles][kLanes];
  float* y;  // null: to `sums`
  int64_t ldy;
  const float* bias;  // of these tiles, or null

  template <int T, int R>
  NEARLIGHT_MEMBER void load_sums(f32x16 (&acc)[T][R]) const {
    if (y) {  // stores wait for their lines one after the other: by then these are here
      for (int r = 0; r < R; r++) {
        for (int t = 0; t < T; t++) prefetch_to_write(y + r * ldy + t * kLanes);
      }
    }
#pragma GCC unroll 16  // or GCC keeps the sums in memory
    for (int t = 0; t < T; t++) {
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) acc[t][r] = first ? f32x16{} : load(sums[r][t]);
    }
  }

  template <int T, int R>
  NEARLIGHT_MEMBER void store_sums(const f32x16 (&acc)[T][R]) const {
#pragma GCC unroll 16
    for (int t = 0; t < T; t++) {
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        if (y) {
          store(y + r * ldy + t * kLanes, bias ? acc[t][r] + load(bias + t * kLanes) : acc[t][r]);
        } else {
          store(sums[r][t], acc[t][r]);
        }
      }
    }
  }
};

// The first panel that a chunk meets: opens it.
template <Format F, int R, bool made>
void first_panel(Scratch<KindOf<F>, made>& scratch, const PanelWork& work) {
  using K = KindOf<F>;
  using S = Stored<F>;
  constexpr int T = kPanelTiles;
  static_assert(Scratch<K, made>::kBlocks % S::kBlocks == 0);
  Tiles tiles = work.tiles;
  Ahead ahead = work.ahead;
  const uint8_t* x = work.x;
  f32x16 acc[T][R];
  work.load_sums(acc);
  for (int first = 0; first < work.n; first += S::kBlocks) {
    const TileScales<F, T> scales(tiles);
    ahead.ask_for_scales();
    for (int block = first; block < work.n && block < first + S::kBlocks; block++) {
      ahead.ask_for_codes();
      const PackedBlock<F, T, made> packed{tiles, scales, (block - first) * K::kGroups, scratch.groups[block],
                                           scratch.codes[0][block][0], sizeof scratch.codes[0]};
      add_block(packed, x, acc);
      tiles.codes += S::kCodeBytes;
      x += K::kActivationBytes * R;
    }
    tiles.scales += S::kScaleBytes;
  }
  work.store_sums(acc);
}

// Another, which finds it open.
template <class K, int R, bool made>
void panel(Scratch<K, made>& scratch, const PanelWork& work) {
  constexpr int T = kPanelTiles;
  const uint8_t *codes = work.tiles.codes, *x = work.x;
  Ahead ahead = work.ahead;
  f32x16 acc[T][R];
  work.load_sums(acc);
  for (int block = 0; block < work.n; block++) {
    ahead.ask_for_codes();
    add_block(OpenBlock<K, T, made>{codes, work.tiles.codes_stride, scratch.groups[block]}, x, acc);
    codes += sizeof scratch.codes[0][0];
    x += K::kActivationBytes * R;
  }
  work.store_sums(acc);
}

template <Format F, bool made>
void gemm(const Matrix& m, const uint8_t* quantized, int64_t n_rows, const Output& out, int64_t tile_begin,
          int64_t tile_end) {
  using K = KindOf<F>;
  using S = Stored<F>;
  using Panel = void (*)(Scratch<K, made>&, const PanelWork&);
  static constexpr auto first_panels = []<int... i>(std::integer_sequence<int, i...>) {
    return Table<Panel, sizeof...(i)>{{first_panel<F, kLeastFirstRows + i, made>...}};
  }(std::make_integer_sequence<int, kPanelRows + 1 - kLeastFirstRows>{});
  static constexpr auto panels = []<int... i>(std::integer_sequence<int, i...>) {
    return Table<Panel, sizeof...(i)>{{panel<K, kLeastPanelRows + i, made>...}};
  }(std::make_integer_sequence<int, kPanelRows + 1 - kLeastPanelRows>{});
  constexpr int T = kPanelTiles;
  constexpr int64_t kChunk = Scratch<K, made>::kBlocks;
  Scratch<K, made> scratch;
  const int64_t blocks = n_blocks(m.n_in);
  const Panels all(K::kForm, n_rows);
  for (int64_t begin = 0; begin < all.n; begin += kPanelsPerPass) {
    const int64_t end = all.n - begin < kPanelsPerPass ? all.n : begin + kPanelsPerPass;
    for (int64_t tile = tile_begin; tile < tile_end; tile += T) {
      const int n_tiles = tile_end - tile < T ? static_cast<int>(tile_end - tile) : T;
      const bool whole = n_tiles == T && out.lanes(tile + n_tiles - 1) == kLanes;
      for (int64_t first = 0; first < blocks; first += kChunk) {
        const int n = static_cast<int>(blocks - first < kChunk ? blocks - first : kChunk);
        const bool last = first + n == blocks;
        Tiles tiles(m, tile, n_tiles);
        tiles.skip<F>(first);
        Ahead ahead{m.codes(tile + T) + T * first * S::kCodeBytes,
                    m.scales(tile + T) + T * first / S::kBlocks * S::kScaleBytes,
                    (T * S::kCodeBytes / (end - begin) + 63) / 64 * 64, T * S::kScaleBytes};
        const uint8_t* const asked = ahead.codes + T * n * S::kCodeBytes;  // the next tiles' chunk ends there
        for (int64_t i = begin; i < end; i++) {
          const auto [row, rows] = all.at(i);
          auto* sums = scratch.sums + (row - all.at(begin).first_row);
          const uint8_t* x = quantized + activations_at(K::kForm, n_rows, row, first, n);
          const PanelWork work{tiles, ahead,  n, first == 0, x, sums, last && whole ? out.at(row, tile) : nullptr,
                               out.ldy, out.bias ? out.bias + tile * kLanes : nullptr};
          if (i == begin) {
            first_panels.at[rows - kLeastFirstRows](scratch, work);
            if constexpr (layout_of(F).low_bits < 8) {
              tiles.codes = scratch.codes[0][0][0];
              tiles.codes_stride = sizeof scratch.codes[0];
            }
          } else {
            panels.at[rows - kLeastPanelRows](scratch, work);
          }
          ahead.codes += n * ahead.code_bytes;
          if (ahead.codes >= asked) ahead.code_bytes = 0;  // many panels would ask for far more, again and again
          for (int r = 0; last && !whole && r < rows; r++) {
            for (int t = 0; t < n_tiles; t++) out.finish(row + r, tile + t, load(sums[r][t]));
          }
        }
      }
    }
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
