// The shape of the work at this level: how many rows and tiles a kernel holds in registers, and where results go.
#pragma once

#include <utility>

#include "../simd.h"
#include "layout.h"

namespace nearlight::NEARLIGHT_LEVEL {

#if defined(NEARLIGHT_AVX512)  // 32 registers: 12 integer and 12 float sums, two vectors of codes, the rest for scales
constexpr int kPanelRows = 6, kPanelTiles = 2;
#else  // 16 registers, of which a vector takes two (AVX2) or four
constexpr int kPanelRows = 3, kPanelTiles = 1;
#endif

constexpr int kGemvRows = 8;          // that meet codes as they are opened, without a scratch in between
constexpr int kPrefetchBytes = 4096;  // ahead of the codes being read; one row alone gains 10-20 %

// Rows in one panel of quantized activations: all of them if few.
constexpr int64_t panel_rows(Form form, int64_t n_rows) {
  return n_rows <= (is_int8(form) ? kGemvRows : kPanelRows) ? n_rows : kPanelRows;
}

template <typename Function, int n>
struct Table {
  Function at[n];
};

// A part of the sum: of rows row .., tiles tile .. tile + n_tiles - 1, and n blocks.
struct Chunk {
  int64_t row, tile;
  int n_tiles, n;
  bool first, last;
};

// Where results go. Between chunks y itself holds the unfinished sums, whose bits a store and a load do not change.
struct Output {
  float* y;
  int64_t ldy, n_out;
  const float* bias;

  NEARLIGHT_MEMBER float* at(int64_t row, int64_t tile) const { return y + row * ldy + tile * kLanes; }
  NEARLIGHT_MEMBER int lanes(int64_t tile) const {
    return n_out - tile * kLanes < kLanes ? static_cast<int>(n_out - tile * kLanes) : kLanes;
  }
  NEARLIGHT_MEMBER f32x16 get(const float* from, int n) const { return n == kLanes ? load(from) : load_lanes(from, n); }
  NEARLIGHT_MEMBER void put(float* to, const f32x16& v, int n) const {
    if (n == kLanes) {
      store(to, v);
    } else {
      store_lanes(to, v, n);
    }
  }

  NEARLIGHT_MEMBER void finish(int64_t row, int64_t tile, const f32x16& acc) const {
    const int n = lanes(tile);
    put(at(row, tile), bias ? acc + get(bias + tile * kLanes, n) : acc, n);
  }

  // Not inlined into kernels on purpose: their loops run over the tiles there are, and sums indexed by such a loop
  // could not stay in registers.
  template <int T, int R>
  [[gnu::noinline]] void load_sums(const Chunk& chunk, f32x16 (&sums)[T][R]) const {
    for (int t = 0; t < chunk.n_tiles; t++) {
      const int n = lanes(chunk.tile + t);
      for (int r = 0; r < R; r++) sums[t][r] = chunk.first ? f32x16{} : get(at(chunk.row + r, chunk.tile + t), n);
    }
    for (int t = chunk.n_tiles; t < T; t++) {
      for (int r = 0; r < R; r++) sums[t][r] = f32x16{};
    }
  }

  template <int T, int R>
  [[gnu::noinline]] void store_sums(const Chunk& chunk, const f32x16 (&sums)[T][R]) const {
    for (int t = 0; t < chunk.n_tiles; t++) {
      const int n = lanes(chunk.tile + t);
      for (int r = 0; r < R; r++) {
        if (chunk.last) {
          finish(chunk.row + r, chunk.tile + t, sums[t][r]);
        } else {
          put(at(chunk.row + r, chunk.tile + t), sums[t][r], n);
        }
      }
    }
  }
};

// A copy whose every index the compiler knows.
template <int T, int R>
NEARLIGHT_INLINE void copy(f32x16 (&to)[T][R], const f32x16 (&from)[T][R]) {
#pragma GCC unroll 16
  for (int t = 0; t < T; t++) {
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) to[t][r] = from[t][r];
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
