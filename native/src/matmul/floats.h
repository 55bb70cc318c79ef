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
  if (format == Format::BF16) return {kMultipliesBf16 ? Coding::bf16 : Coding::f32};
  if (is_float(format)) return {Coding::f32};
  const Layout& layout = layout_of(format);
  return {Coding::int8, scale_bits(format), layout.zero_shift, layout.groups};
}

// A step of a kernel over the inputs: kInputs of them, whose weights take kBytes in a tile. multiply() adds the
// products of R rows.
template <Format F>
struct KStep;

template <int R>
NEARLIGHT_INLINE void add_products(const f32x16& weights, const float* x, f32x16 (&acc)[R]) {
  for (int r = 0; r < R; r++) acc[r] = fma(weights, broadcast(x[r]), acc[r]);
}

template <>
struct KStep<Format::F32> {
  static constexpr int kInputs = 1, kBytes = 64;
  template <int R>
  NEARLIGHT_MEMBER static void multiply(const uint8_t* weights, const uint8_t* x, f32x16 (&acc)[R]) {
    add_products(load(reinterpret_cast<const float*>(weights)), reinterpret_cast<const float*>(x), acc);
  }
};

template <>
struct KStep<Format::F16> {
  static constexpr int kInputs = 1, kBytes = 32;
  template <int R>
  NEARLIGHT_MEMBER static void multiply(const uint8_t* weights, const uint8_t* x, f32x16 (&acc)[R]) {
    add_products(load_f16(reinterpret_cast<const uint16_t*>(weights)), reinterpret_cast<const float*>(x), acc);
  }
};

template <>
struct KStep<Format::BF16> {  // two inputs, in the halves of a lane's 32 bits
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
  constexpr size_t kRowBytes = activation_bytes(form_of(F)) / kBlock * KStep<F>::kInputs;  // of a step, in x
  f32x16 sums[T][R], acc[T][R];
  out.load_sums(chunk, sums);
  copy(acc, sums);
  constexpr int64_t kBytes = KStep<F>::kBytes;
  const uint8_t* weights = float_step(m, chunk.tile, step_begin, kBytes);
  const int64_t stride = float_group(m, chunk.tile) * kBytes;
  int64_t offsets[T];  // past the last tile: the last again, for nothing
  for (int t = 0; t < T; t++) offsets[t] = (t < chunk.n_tiles ? t : chunk.n_tiles - 1) * kBytes;
  for (int64_t step = 0; step < chunk.n; step++, weights += stride) {
    for (int t = 0; t < T; t++) {
      if constexpr (R <= kPanelRows) prefetch(weights + kPrefetchBytes + t * kBytes);
      KStep<F>::multiply(weights + offsets[t], x + step * static_cast<int64_t>(kRowBytes * R), acc[t]);
    }
  }
  copy(sums, acc);
  out.store_sums(chunk, sums);
}

// Tiles at once, of those that lie interleaved: as many as leave the sums in registers.
constexpr int float_tiles(int rows) { return kRegisters == 1 || rows == 1 ? kFloatGroup : 2; }

template <Format F>
void multiply_floats(const Matrix& m, const uint8_t* quantized, int64_t n_rows, const Output& out, int64_t tile_begin,
                     int64_t tile_end) {
  using Panel = void (*)(const Matrix&, int64_t, const Chunk&, const uint8_t*, const Output&);
  static constexpr auto panels = []<int... r>(std::integer_sequence<int, r...>) {
    return Table<Panel, kPanelRows>{{float_panel<F, r + 1, float_tiles(r + 1)>...}};
  }(std::make_integer_sequence<int, kPanelRows>{});
  constexpr int64_t kInputs = KStep<F>::kInputs;
  const int64_t steps = (m.n_in + kInputs - 1) / kInputs;
  const Panels all(form_of(F), n_rows);
  // In one go if all rows and tiles of a group meet at once, so that the matrix streams by; else in chunks, which stay
  // in the second cache until all have met.
  const bool streams = all.n == 1 && float_tiles(static_cast<int>(n_rows)) == kFloatGroup;
  const int64_t chunk_steps = streams ? steps : chunk_blocks(form_of(F), n_rows) * kBlock / kInputs;
  for (int64_t group = tile_begin; group < tile_end; group += kFloatGroup) {
    const int64_t group_end = tile_end - group < kFloatGroup ? tile_end : group + kFloatGroup;
    for (int64_t first = 0; first < steps; first += chunk_steps) {
      const int64_t n = steps - first < chunk_steps ? steps - first : chunk_steps;
      for (int64_t i = 0; i < all.n; i++) {
        const auto [row, rows] = all.at(i);
        const int tiles = float_tiles(rows);
        const int64_t block = first * kInputs / kBlock, n_of_chunk = n_blocks(n * kInputs);
        const uint8_t* x = quantized + activations_at(form_of(F), n_rows, row, block, n_of_chunk);
        for (int64_t tile = group; tile < group_end; tile += tiles) {
          const int n_tiles = static_cast<int>(group_end - tile < tiles ? group_end - tile : tiles);
          const Chunk chunk{row, tile, n_tiles, static_cast<int>(n), first == 0, first + n == steps};
          panels.at[rows - 1](m, first, chunk, x, out);
        }
      }
    }
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
