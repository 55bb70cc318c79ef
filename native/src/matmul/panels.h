// The shape of the work at this level: how many rows and tiles a kernel holds in registers, and where results go.
#pragma once

#include <utility>

#include "../simd.h"
#include "layout.h"

namespace nearlight::NEARLIGHT_LEVEL {

#if defined(NEARLIGHT_AVX512)  // 32 registers: 12 integer and 12 float sums, two vectors of codes, the rest for scales
constexpr int kPanelRows = 6, kPanelTiles = 2, kGemvRows = 12;
#else  // 16 registers, of which a vector takes two (AVX2) or four; GEMV has one row's sums there at a time
constexpr int kPanelRows = 3, kPanelTiles = 1, kGemvRows = 8;
#endif

// Rows that one panel takes where it need not leave room for others. Groups of 16 end twice as often, for which twelve
// sums leave too few registers.
constexpr int most_alone(Form form) {
  if (!is_int8(form)) return kPanelRows;
  return kGemvRows == 12 && form.groups == 2 ? 11 : kGemvRows;
}

constexpr int kPrefetchBytes = 4096;  // ahead of the codes being read; one row alone gains 10-20 %

// Rows n_rows divided into as few panels as hold them, as equal as can be, the higher ones first.
struct Panels {
  int64_t n, height, n_higher;  // panels; rows of the lower ones; panels that have one more

  struct Panel {
    int64_t first_row;
    int rows;
  };

  constexpr Panels(Form form, int64_t n_rows) {
    n = n_rows <= most_alone(form) ? 1 : (n_rows + kPanelRows - 1) / kPanelRows;
    height = n_rows / n;
    n_higher = n_rows % n;
  }
  constexpr Panel at(int64_t i) const {
    const bool higher = i < n_higher;
    return {i * height + (higher ? i : n_higher), static_cast<int>(height + higher)};
  }
  constexpr int64_t of_row(int64_t row) const {
    const int64_t in_higher = n_higher * (height + 1);
    return row < in_higher ? row / (height + 1) : n_higher + (row - in_higher) / height;
  }
};

// The least rows of a panel that is not alone, and of the first of such.
constexpr int kLeastPanelRows = kPanelRows * 2 / 3, kLeastFirstRows = kLeastPanelRows + 1;
static_assert([] {
  for (int groups = 1; groups <= 2; groups++) {
    const Form form{Coding::int8, kAnyScale, 0, groups};
    for (int64_t n_rows = most_alone(form) + 1; n_rows < 10 * kPanelRows; n_rows++) {
      const Panels panels(form, n_rows);
      if (panels.at(0).rows < kLeastFirstRows || panels.at(panels.n - 1).rows < kLeastPanelRows) return false;
    }
  }
  return true;
}());

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
