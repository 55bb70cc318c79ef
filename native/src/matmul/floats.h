// Products of float weights: F32 and F16 with float activations, BF16 with bfloat16 ones where the level multiplies
// those, else with float ones.
//
// One kernel for any number of rows: R rows by T tiles of sums in registers, over the inputs in ascending order, one
// accumulator per output element. With few rows many tiles are taken at once, for a chain of dependent additions alone
// would be slower than memory.
#pragma once

#include "panels.h"

namespace nearlight::NEARLIGHT_LEVEL {

#if defined(__AVX512BF16__)
constexpr bool kMultipliesBf16 = true;
#else
constexpr bool kMultipliesBf16 = false;
#endif

constexpr Form form_of(Format format) {
  if (format == Format::BF16) return kMultipliesBf16 ? Form::bf16 : Form::f32;
  return is_float(format) ? Form::f32 : Form::int8;
}

// A step of a kernel: kInputs inputs, whose weights take kBytes in a tile. multiply() adds the products of R rows.
template <Format F>
struct Step;

template <int R>
NEARLIGHT_INLINE void add_products(const f32x16& weights, const float* x, f32x16 (&acc)[R]) {
  for (int r = 0; r < R; r++) acc[r] = fma(weights, broadcast(x[r]), acc[r]);
}

template <>
struct Step<Format::F32> {
  static constexpr int kInputs = 1, kBytes = 64;
  template <int R>
  NEARLIGHT_MEMBER static void multiply(const uint8_t* weights, const uint8_t* x, f32x16 (&acc)[R]) {
    add_products(load(reinterpret_cast<const float*>(weights)), reinterpret_cast<const float*>(x), acc);
  }
};

template <>
struct Step<Format::F16> {
  static constexpr int kInputs = 1, kBytes = 32;
  template <int R>
  NEARLIGHT_MEMBER static void multiply(const uint8_t* weights, const uint8_t* x, f32x16 (&acc)[R]) {
    add_products(load_f16(reinterpret_cast<const uint16_t*>(weights)), reinterpret_cast<const float*>(x), acc);
  }
};

template <>
struct Step<Format::BF16> {  // two inputs, in the halves of a lane's 32 bits
  static constexpr int kInputs = 2, kBytes = 64;
  template <int R>
  NEARLIGHT_MEMBER static void multiply(const uint8_t* weights, const uint8_t* x, f32x16 (&acc)[R]) {
#if defined(__AVX512BF16__)
    const __m512bh pairs = (__m512bh)_mm512_loadu_si512(weights);
    for (int r = 0; r < R; r++) {
      int32_t two;
      std::memcpy(&two, x + 4 * r, 4);
      acc[r].part[0] = _mm512_dpbf16_ps(acc[r].part[0], pairs, (__m512bh)_mm512_set1_epi32(two));
    }
#else
    const i32x16 pairs = load(reinterpret_cast<const int32_t*>(weights));
    const auto* floats = reinterpret_cast<const float*>(x);
    add_products(bits_as<f32x16>(pairs << 16), floats, acc);
    add_products(bits_as<f32x16>(pairs & broadcast<int32_t>(-65536)), floats + R, acc);
#endif
  }
};

template <Format F, int R, int T>
void float_panel(const Matrix& m, int64_t step_begin, const Chunk& chunk, const uint8_t* x, const Output& out) {
  constexpr size_t kRowBytes = record_bytes(form_of(F)) / kBlock * Step<F>::kInputs;  // of a step, in x
  f32x16 sums[T][R], acc[T][R];
  out.take_up(chunk, sums);
  copy(acc, sums);
  const uint8_t* weights[T];
  for (int t = 0; t < T; t++) {  // past the last tile: the last again, for nothing
    const int64_t tile = chunk.tile + (t < chunk.n_tiles ? t : chunk.n_tiles - 1);
    weights[t] = m.codes(tile) + step_begin * Step<F>::kBytes;
  }
  for (int64_t step = 0; step < chunk.n; step++) {
    for (int t = 0; t < T; t++) {
      if constexpr (R <= kFewRows / 2) prefetch(weights[t] + step * Step<F>::kBytes + kPrefetchBytes / T);
      Step<F>::multiply(weights[t] + step * Step<F>::kBytes, x + step * static_cast<int64_t>(kRowBytes * R), acc[t]);
    }
  }
  copy(sums, acc);
  out.put_down(chunk, sums);
}

// Tiles at once: as many as leave the sums in registers.
constexpr int float_tiles(int rows) { return rows <= 2 ? 4 : rows <= kPanelRows ? 2 * kPanelTiles : kPanelTiles; }

template <Format F>
void multiply_floats(const Matrix& m, const uint8_t* prepared, int64_t n_rows, const Output& out, int64_t tile_begin,
                     int64_t tile_end) {
  using Panel = void (*)(const Matrix&, int64_t, const Chunk&, const uint8_t*, const Output&);
  constexpr int kMost = kFewRows > kPanelRows ? kFewRows : kPanelRows;
  static constexpr auto panels = []<int... r>(std::integer_sequence<int, r...>) {
    return Table<Panel, kMost>{{float_panel<F, r + 1, float_tiles(r + 1)>...}};
  }(std::make_integer_sequence<int, kMost>{});
  constexpr int64_t kInputs = Step<F>::kInputs;
  const int64_t steps = (m.n_in + kInputs - 1) / kInputs;
  // One chunk if rows are few, so that the matrix streams by; else chunks that stay in the second cache.
  const int64_t chunk_steps = n_rows <= kFewRows ? steps : kChunk * kBlock / kInputs;
  const int64_t height = panel_rows(n_rows);
  const int tiles = float_tiles(static_cast<int>(height));
  for (int64_t tile = tile_begin; tile < tile_end; tile += tiles) {
    for (int64_t first = 0; first < steps; first += chunk_steps) {
      const int64_t n = steps - first < chunk_steps ? steps - first : chunk_steps;
      for (int64_t row = 0; row < n_rows; row += height) {
        const int rows = static_cast<int>(n_rows - row < height ? n_rows - row : height);
        const uint8_t* x =
            prepared + records_at(form_of(F), n_rows, row, first * kInputs / kBlock, n_blocks(n * kInputs));
        // The last panel is lower and may take more tiles at once than there are here: it stops where the others do.
        const int n_tiles = static_cast<int>(tile_end - tile < tiles ? tile_end - tile : tiles);
        const Chunk chunk{row, tile, n_tiles, static_cast<int>(n), first == 0, first + n == steps};
        panels.at[rows - 1](m, first, chunk, x, out);
      }
    }
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
