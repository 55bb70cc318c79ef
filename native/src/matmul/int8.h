// Products of quantized weights with int8 activations.
//
// Per group of 32 inputs (16 in some formats), tile of 16 output rows and activation row: eight (four) dot products of
// four, in integers and exact, then
//
//     t    = scale * (dots - zero * sum)      or, in a format with mins,
//     t    = scale * dots - min * sum
//     acc += factor of the activations * t
//
// one accumulator per output element, over groups in ascending order. Both kernels end a group with the same function, so
// their results have the same bits. The zero point is settled by starting the integers at -zero * sum.
//
// Scales of activations that are any float cost one more multiplication per sum and group, a twelfth to a sixth of the
// time. So for weights of fewer than 8 bits they have few bits, 2^e * (1 + i / n). The power of two is settled in the
// start, too: the integers begin as the bits of a float at which their unit is worth 2^e, and subtracting that float,
// which takes the place of a conversion, leaves them scaled. The rest is multiplied into the scale of the weights, whose n
// multiples are made once for all rows, and each row takes its own.
//
// GEMV (up to kGemvRows rows)   codes are opened in registers and meet all rows at once; bound by reading the matrix
//                               while ten multiplying instructions per row and block take less time than its bytes
// GEMM (more rows)              a pair of tiles is opened into a scratch of some blocks that stays in the nearest
//                               cache; then panels of kPanelRows rows run over it. 96 dot products per block of a
//                               6 by 2 panel against 12 to 24 multiplications: at most 80 to 89 % of the peak
#pragma once

#include "codes.h"
#include "panels.h"

namespace nearlight::NEARLIGHT_LEVEL {

// The quantized activations of one block and R rows (layout.h).
template <int R>
struct Activations {
  const uint8_t* at;

  NEARLIGHT_MEMBER s8x64 codes(int j, int r) const {
    return broadcast4(reinterpret_cast<const int8_t*>(at) + 4 * (j * R + r));
  }
  NEARLIGHT_MEMBER f32x16 scale(int r) const { return broadcast(f32_from_bits(scale_bits(r))); }
  // Which of the weights' scale's multiples a row takes.
  NEARLIGHT_MEMBER uint32_t multiple(int r, int n) const {
    return n == 1 ? 0 : scale_bits(r) & static_cast<uint32_t>(n - 1);
  }
  // Integers to begin with, or floats for mins.
  NEARLIGHT_MEMBER i32x16 start(int group, int r) const {
    int32_t value;
    std::memcpy(&value, at + kBlock * R + 4 * (R * (1 + group) + r), 4);
    return broadcast(value);
  }

  NEARLIGHT_MEMBER uint32_t scale_bits(int r) const {
    uint32_t value;
    std::memcpy(&value, at + kBlock * R + 4 * r, 4);
    return value;
  }

  // The same, unknown to the compiler: what was read before is read again, and holds no register meanwhile.
  NEARLIGHT_MEMBER Activations again() const {
    const uint8_t* same = at;
    asm("" : "+r"(same));
    return {same};
  }
};

// What the sums of a group depend on: formats alike in this share their panel kernels.
template <int groups, bool min, bool seven_bits, int scale_bits>
struct Kind {
  static constexpr int kGroups = groups, kSteps = 8 / groups;  // steps of four inputs in a group
  static constexpr bool kMin = min;
  static constexpr bool kAnyScale = scale_bits == nearlight::kAnyScale;
  static constexpr int kMultiples = kAnyScale ? 1 : 1 << scale_bits;  // of the weights' scale, for those of activations
  static constexpr Form kForm{Coding::int8, scale_bits, 0, groups};  // but for the zero point
  static constexpr int64_t kActivationBytes = activation_bytes(kForm);  // of a block and a row

  // Whether add() itself takes the zero point away.
#if defined(NEARLIGHT_AVX2)
  static constexpr bool kAddsLess128 = !seven_bits;
#else
  static constexpr bool kAddsLess128 = false;
#endif

  template <int R>
  NEARLIGHT_MEMBER static i32x16 begin(const Activations<R>& x, int group, int r) {
    if constexpr (!kMin && !kAddsLess128) {
      return x.start(group, r);
    } else {
      return kAnyScale ? i32x16{} : bits_as<i32x16>(x.scale(r));
    }
  }

  NEARLIGHT_MEMBER static i32x16 add(const i32x16& dots, const u8x64& codes, const s8x64& activations) {
#if defined(NEARLIGHT_AVX2)
    if constexpr (kAddsLess128) return dot4_less_128(dots, codes, activations);
#endif
    return seven_bits ? dot4_7bit(dots, codes, activations) : dot4(dots, codes, activations);
  }

  // Ends a group; `scale` is the row's multiple of the weights'.
  template <int R>
  NEARLIGHT_MEMBER static f32x16 end(const i32x16& dots, const f32x16& scale, const f32x16& min_of_group,
                                     const Activations<R>& x, int group, int r, const f32x16& acc) {
    const f32x16 sum = kMin ? bits_as<f32x16>(x.start(group, r)) : f32x16{};
    if constexpr (kAnyScale) {
      const f32x16 t = to_f32(dots) * scale;
      return fma(kMin ? fma(sum, min_of_group, t) : t, x.scale(r), acc);
    } else {
      const f32x16 without_min = fma(bits_as<f32x16>(dots) - x.scale(r), scale, acc);
      return kMin ? fma(sum, min_of_group, without_min) : without_min;
    }
  }
};

template <Format F>
using KindOf = Kind<layout_of(F).groups, layout_of(F).zero_shift == kMins, kSevenBits<F>, scale_bits(F)>;

// 1 + i / n at [i]
template <int n>
struct Factors {
  float at[n];
};
template <int n>
constexpr Factors<n> kFactors = [] {
  Factors<n> factors{};
  for (int i = 0; i < n; i++) factors.at[i] = 1.0f + static_cast<float>(i) / static_cast<float>(n);
  return factors;
}();

// ---- GEMV ----------------------------------------------------------------------------------------------------------

// Not inlined on purpose: a loop over rows that is not unrolled would keep the sums of its caller in memory.
template <int R>
[[gnu::noinline]] void finish_rows(const Output& out, int64_t tile, const f32x16 (&sums)[R]) {
  for (int r = 0; r < R; r++) out.finish(r, tile, sums[r]);
}

// The multiple of a group's weight scales that a row takes.
template <class K>
struct Multiples {
  f32x16 first, last;

  NEARLIGHT_MEMBER explicit Multiples(const f32x16& scale)
      : first(scale), last(scale * broadcast(kFactors<K::kMultiples>.at[K::kMultiples - 1])) {}
  NEARLIGHT_MEMBER f32x16 at(uint32_t i) const {
#if defined(NEARLIGHT_AVX512)  // the units that multiply have enough to do
    if constexpr (K::kMultiples == 2) return choose(i != 0, first, last);
#endif
    return K::kMultiples == 1 ? first : first * broadcast(kFactors<K::kMultiples>.at[i]);
  }
};

template <Format F, int R>
void gemv(const Matrix& m, const uint8_t* quantized, const Output& out, int64_t tile_begin, int64_t tile_end) {
  using K = KindOf<F>;
  constexpr Layout layout = layout_of(F);
  constexpr int kBlocks = layout.stored_block / kBlock, kBlockBytes = 64 * layout.block_vectors();
  const int64_t blocks = n_blocks(m.n_in);
  for (int64_t tile = tile_begin; tile < tile_end; tile++) {
    const uint8_t *codes_at = m.codes(tile), *scales_at = m.scales(tile), *x_at = quantized;
    f32x16 acc[R] = {};
    for (int64_t first = 0; first < blocks; first += kBlocks) {
      const Scales<F> scales(scales_at);
      const int n = blocks - first < kBlocks ? static_cast<int>(blocks - first) : kBlocks;
      for (int block = 0; block < n; block++) {
        for (int i = 0; i < kBlockBytes; i += 64) prefetch(codes_at + kPrefetchBytes + i);
        const Activations<R> x{x_at};
        u8x64 codes[8];
        unpack<F>(codes_at, codes);
        for (int g = 0; g < K::kGroups; g++) {
          const int group = block * K::kGroups + g;
          const Multiples<K> multiples(scales.scale(group));
          const f32x16 min = scales.min(group);
          i32x16 dots[R];
          for (int r = 0; r < R; r++) dots[r] = K::begin(x, g, r);
          const auto add = [&](int step, int r) {
            const int j = g * K::kSteps + step;
            dots[r] = K::add(dots[r], codes[j], x.codes(j, r));
          };
          if constexpr (kRegisters == 1) {  // rows innermost: a dot product takes long, and rows do not wait for rows
            for (int step = 0; step < K::kSteps; step++) {
              for (int r = 0; r < R; r++) add(step, r);
            }
          } else {  // one row's sum in registers at a time, of which there are few
            for (int r = 0; r < R; r++) {
              for (int step = 0; step < K::kSteps; step++) add(step, r);
            }
          }
          const Activations<R> same = x.again();
          for (int r = 0; r < R; r++) {
            const f32x16 scale = multiples.at(same.multiple(r, K::kMultiples));
            acc[r] = K::end(dots[r], scale, min, same, g, r, acc[r]);
          }
        }
        codes_at += kBlockBytes;
        x_at += K::kActivationBytes * R;
      }
      scales_at += kLanes * layout.scale_bytes();
    }
    f32x16 sums[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) sums[r] = acc[r];
    finish_rows(out, tile, sums);
  }
}

// ---- GEMM ----------------------------------------------------------------------------------------------------------

constexpr int kRowBlock = 96 * kPanelRows;  // rows that meet a pair of tiles before the next; their sums stay near too

// The opened codes and multiples of scales of kPanelTiles tiles and up to kBlocks blocks, and the sums of up to kRowBlock
// rows.
template <class K>
struct Scratch {
  static constexpr int kBlocks = chunk_blocks(K::kForm);
  alignas(64) uint8_t codes[kBlocks][kPanelTiles][8][64];
  alignas(64) float scales[kBlocks][K::kGroups][K::kMultiples][kPanelTiles][kLanes];
  alignas(64) float mins[kBlocks][K::kGroups][kPanelTiles][kLanes];
  alignas(64) float sums[kRowBlock][kPanelTiles][kLanes];
};

// Fewer rows than this multiply scales themselves: making all multiples ahead would take longer, unless they are two.
constexpr int64_t kRowsForMultiples = 40;

template <Format F, bool made>
void open_tiles(const Matrix& m, int64_t tile, int n_tiles, int64_t first, int n, Scratch<KindOf<F>>& scratch) {
  using K = KindOf<F>;
  constexpr Layout layout = layout_of(F);
  constexpr int kBlocks = layout.stored_block / kBlock, kBlockBytes = 64 * layout.block_vectors();
  static_assert(Scratch<K>::kBlocks % kBlocks == 0);
  // What is opened next, of the same tile or of the next pair's, is asked for now: the panels in between take long.
  const int64_t tile_codes = static_cast<int64_t>(m.tile_codes), chunk_codes = int64_t{n} * kBlockBytes;
  const int64_t codes_before = first * kBlockBytes;
  const int64_t ahead = codes_before + chunk_codes < tile_codes ? chunk_codes : kPanelTiles * tile_codes - codes_before;
  for (int t = 0; t < n_tiles; t++) {
    const uint8_t* codes_at = m.codes(tile + t) + first * kBlockBytes;
    const uint8_t* scales_at = m.scales(tile + t) + first / kBlocks * (kLanes * layout.scale_bytes());
    for (int done = 0; done < n; done += kBlocks) {
      const Scales<F> scales(scales_at);
      for (int block = 0; block < kBlocks && done + block < n; block++) {
        u8x64 codes[8];
        for (int i = 0; i < kBlockBytes; i += 64) prefetch(codes_at + ahead + i);
        unpack<F>(codes_at, codes);
        for (int j = 0; j < 8; j++) store(scratch.codes[done + block][t][j], codes[j]);
        for (int g = 0; g < K::kGroups; g++) {
          const f32x16 scale = scales.scale(block * K::kGroups + g);
          auto& to = scratch.scales[done + block][g];
          for (int i = 0; i < (made ? K::kMultiples : 1); i++) {
            store(to[i][t], scale * broadcast(kFactors<K::kMultiples>.at[i]));
          }
          if constexpr (K::kMin) store(scratch.mins[done + block][g][t], scales.min(block * K::kGroups + g));
        }
        codes_at += kBlockBytes;
      }
      scales_at += kLanes * layout.scale_bytes();
    }
  }
}

// What one call of a panel works on: n blocks of a chunk, and where its sums come from and go to. Between chunks they
// wait in the scratch, whose bits a store and a load do not change; from the last they go straight to whole tiles of y.
struct PanelWork {
  int n;
  bool first;
  const uint8_t* x;
  float (*sums)[kPanelTiles][kLanes];
  float* y;  // null: to `sums`
  int64_t ldy;
  const float* bias;  // of these tiles, or null
};

template <class K, int R, bool made>
void panel(const Scratch<K>& scratch, const PanelWork& work) {
  constexpr int T = kPanelTiles;
  if (work.y) {  // stores wait for their lines one after the other: by then these are here
    for (int r = 0; r < R; r++) {
      for (int t = 0; t < T; t++) prefetch_to_write(work.y + r * work.ldy + t * kLanes);
    }
  }
  f32x16 acc[T][R];
#pragma GCC unroll 16  // or GCC keeps the sums in memory
  for (int t = 0; t < T; t++) {
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) acc[t][r] = work.first ? f32x16{} : load(work.sums[r][t]);
  }
  const uint8_t* x_at = work.x;
  for (int block = 0; block < work.n; block++, x_at += K::kActivationBytes * R) {
    const Activations<R> x{x_at};
    for (int g = 0; g < K::kGroups; g++) {
      i32x16 dots[T][R];
      for (int r = 0; r < R; r++) {
        const i32x16 start = K::begin(x, g, r);
        for (int t = 0; t < T; t++) dots[t][r] = start;
      }
#pragma GCC unroll 8  // the same
      for (int step = 0; step < K::kSteps; step++) {
        const int j = g * K::kSteps + step;
        u8x64 codes[T];
        for (int t = 0; t < T; t++) codes[t] = load(scratch.codes[block][t][j]);
        for (int r = 0; r < R; r++) {
          const s8x64 activations = x.codes(j, r);
          for (int t = 0; t < T; t++) dots[t][r] = K::add(dots[t][r], codes[t], activations);
        }
      }
      const Activations<R> same = x.again();
      f32x16 min[T];
      for (int t = 0; t < T; t++) min[t] = K::kMin ? load(scratch.mins[block][g][t]) : f32x16{};
      for (int r = 0; r < R; r++) {
        const uint32_t multiple = same.multiple(r, K::kMultiples);
        const auto& scales = scratch.scales[block][g][made ? multiple : 0];
        for (int t = 0; t < T; t++) {
          const f32x16 scale = made ? load(scales[t]) : Multiples<K>(load(scales[t])).at(multiple);
          acc[t][r] = K::end(dots[t][r], scale, min[t], same, g, r, acc[t][r]);
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < T; t++) {
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      if (work.y) {
        const f32x16& v = acc[t][r];
        store(work.y + r * work.ldy + t * kLanes, work.bias ? v + load(work.bias + t * kLanes) : v);
      } else {
        store(work.sums[r][t], acc[t][r]);
      }
    }
  }
}

template <Format F, bool made>
void gemm(const Matrix& m, const uint8_t* quantized, int64_t n_rows, const Output& out, int64_t tile_begin,
          int64_t tile_end) {
  using K = KindOf<F>;
  using Panel = void (*)(const Scratch<K>&, const PanelWork&);
  static constexpr auto panels = []<int... r>(std::integer_sequence<int, r...>) {
    return Table<Panel, kPanelRows>{{panel<K, r + 1, made>...}};
  }(std::make_integer_sequence<int, kPanelRows>{});
  Scratch<K> scratch;
  constexpr int64_t kChunk = Scratch<K>::kBlocks;
  const int64_t blocks = n_blocks(m.n_in);
  for (int64_t block_row = 0; block_row < n_rows; block_row += kRowBlock) {
    const int64_t end_row = n_rows - block_row < kRowBlock ? n_rows : block_row + kRowBlock;
    for (int64_t tile = tile_begin; tile < tile_end; tile += kPanelTiles) {
      const int n_tiles = tile_end - tile < kPanelTiles ? static_cast<int>(tile_end - tile) : kPanelTiles;
      const bool whole = n_tiles == kPanelTiles && out.lanes(tile + n_tiles - 1) == kLanes;
      for (int64_t first = 0; first < blocks; first += kChunk) {
        const int n = static_cast<int>(blocks - first < kChunk ? blocks - first : kChunk);
        open_tiles<F, made>(m, tile, n_tiles, first, n, scratch);
        for (int64_t row = block_row; row < end_row; row += kPanelRows) {
          const int rows = end_row - row < kPanelRows ? static_cast<int>(end_row - row) : kPanelRows;
          auto* sums = scratch.sums + (row - block_row);
          const bool last = first + n == blocks;
          const uint8_t* x = quantized + activations_at(form_of(F), n_rows, row, first, n);
          panels.at[rows - 1](scratch, {n, first == 0, x, sums, last && whole ? out.at(row, tile) : nullptr, out.ldy,
                                        out.bias ? out.bias + tile * kLanes : nullptr});
          for (int r = 0; last && !whole && r < rows; r++) {
            for (int t = 0; t < n_tiles; t++) out.finish(row + r, tile + t, load(sums[r][t]));
          }
        }
      }
    }
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
