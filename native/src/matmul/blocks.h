// The weights of a block as kernels meet them: opened in registers, opened and kept for others, or open already.
//
// Each of these gives, of T tiles, the codes of four inputs, `codes<j>(t)`, and what ends a group, `group(g)`:
// multiples of its scales, and mins.
#pragma once

#include "group.h"

namespace nearlight::NEARLIGHT_LEVEL {

// f(0), f(1), .. f(n - 1), each number known to the compiler.
template <int n, class Function>
NEARLIGHT_INLINE void unrolled(const Function& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, i>{}), ...);
  }(std::make_integer_sequence<int, n>{});
}

// How a format's stored blocks lie in a tile: blocks of 32 inputs in one, bytes of a block's codes and of their scales.
template <Format F>
struct Stored {
  static constexpr int kBlocks = layout_of(F).stored_block / kBlock;
  static constexpr int kCodeBytes = 64 * layout_of(F).block_vectors();
  static constexpr int kScaleBytes = kLanes * layout_of(F).scale_bytes();
};

// Where up to T tiles of a matrix lie. One that is not there is the first again, for nothing.
struct Tiles {
  const uint8_t *codes, *scales;
  int64_t codes_stride, scales_stride;  // from tile to tile

  Tiles(const Matrix& m, int64_t tile, int n_tiles)
      : codes(m.codes(tile)),
        scales(m.scales(tile)),
        codes_stride(n_tiles > 1 ? static_cast<int64_t>(m.tile_codes) : 0),
        scales_stride(n_tiles > 1 ? static_cast<int64_t>(m.tile_scales) : 0) {}

  template <Format F>  // a multiple of a stored block
  NEARLIGHT_MEMBER void skip(int64_t n_blocks) {
    codes += n_blocks * Stored<F>::kCodeBytes;
    scales += n_blocks / Stored<F>::kBlocks * Stored<F>::kScaleBytes;
  }
};

// The scale fields of T tiles' stored block.
template <Format F, int T>
struct TileScales {
  Scales<F> of[T];

  NEARLIGHT_MEMBER explicit TileScales(const Tiles& tiles) : TileScales(tiles, std::make_integer_sequence<int, T>{}) {}

 private:
  template <int... t>
  NEARLIGHT_MEMBER TileScales(const Tiles& tiles, std::integer_sequence<int, t...>)
      : of{Scales<F>(tiles.scales + t * tiles.scales_stride)...} {}
};

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

// What ends a group of a tile, in registers. Of the multiples of its scale, each row takes its own.
template <class K>
struct GroupInRegisters {
  f32x16 first, last, its_min;

  NEARLIGHT_MEMBER f32x16 scale(int, uint32_t i) const {
#if defined(NEARLIGHT_AVX512)  // the units that multiply have enough to do
    if constexpr (K::kMultiples == 2) return choose(i != 0, first, last);
#endif
    return K::kMultiples == 1 ? first : first * broadcast(kFactors<K::kMultiples>.at[i]);
  }
  NEARLIGHT_MEMBER f32x16 min(int) const { return its_min; }
};

// What ends a group of T tiles, in memory: all multiples of scales if `made`, else the first.
template <class K, int T, bool made>
struct Group {
  alignas(64) float scales[made ? K::kMultiples : 1][T][kLanes];
  alignas(64) float mins[K::kMin ? T : 1][kLanes];

  template <Format F>
  NEARLIGHT_MEMBER void fill(const TileScales<F, T>& tiles, int group) {
    for (int t = 0; t < T; t++) {
      const f32x16 scale = tiles.of[t].scale(group);
      for (int i = 0; i < (made ? K::kMultiples : 1); i++) {
        store(scales[i][t], scale * broadcast(kFactors<K::kMultiples>.at[i]));
      }
      if constexpr (K::kMin) store(mins[t], tiles.of[t].min(group));
    }
  }

  NEARLIGHT_MEMBER f32x16 scale(int t, uint32_t i) const {
    if constexpr (made) return load(scales[i][t]);
    const f32x16 first = load(scales[0][t]);
    return K::kMultiples == 1 ? first : first * broadcast(kFactors<K::kMultiples>.at[i]);
  }
  NEARLIGHT_MEMBER f32x16 min(int t) const { return K::kMin ? load(mins[t]) : f32x16{}; }
};

// A block of one tile, all its codes opened in registers (where there are few of those, in memory).
template <Format F>
struct BlockInRegisters {
  using K = KindOf<F>;
  static constexpr int kTiles = 1;
  static constexpr bool kRowsInside = kRegisters == 1;
  u8x64 opened[8];
  const TileScales<F, 1>& scales;
  int first_group;  // in the stored block

  NEARLIGHT_MEMBER BlockInRegisters(const Tiles& tiles, const TileScales<F, 1>& its_scales, int block)
      : scales(its_scales), first_group(block * K::kGroups) {
    unrolled<8>([&](auto j) __attribute__((always_inline)) { opened[j] = open_codes<F, j>(tiles.codes); });
  }
  template <int j>
  NEARLIGHT_MEMBER u8x64 codes(int) const {
    return opened[j];
  }
  NEARLIGHT_MEMBER GroupInRegisters<K> group(int g) const {
    const f32x16 scale = scales.of[0].scale(first_group + g);
    return {scale, scale * broadcast(kFactors<K::kMultiples>.at[K::kMultiples - 1]), scales.of[0].min(first_group + g)};
  }
};

// A block of T tiles, whose codes are opened as they are asked for, and kept for others if `kept` says where. Codes of
// 8 bits are open where they lie.
template <Format F, int T, bool made>
struct PackedBlock {
  using K = KindOf<F>;
  static constexpr int kTiles = T;
  static constexpr bool kRowsInside = kRegisters == 1;
  const Tiles& tiles;
  const TileScales<F, T>& scales;
  int first_group;  // in the stored block
  Group<K, T, made>* groups;
  uint8_t* kept;
  int64_t kept_stride;

  template <int j>
  NEARLIGHT_MEMBER u8x64 codes(int t) const {
    const u8x64 opened = open_codes<F, j>(tiles.codes + t * tiles.codes_stride);
    if constexpr (layout_of(F).low_bits < 8) {
      if (kept) store(kept + t * kept_stride + 64 * j, opened);
    }
    return opened;
  }
  NEARLIGHT_MEMBER const Group<K, T, made>& group(int g) const {
    groups[g].fill(scales, first_group + g);
    return groups[g];
  }
};

// A block of T tiles that was opened before.
template <class Kind, int T, bool made>
struct OpenBlock {
  using K = Kind;
  static constexpr int kTiles = T;
  static constexpr bool kRowsInside = true;
  const uint8_t* at;
  int64_t stride;
  const Group<K, T, made>* groups;

  template <int j>
  NEARLIGHT_MEMBER u8x64 codes(int t) const {
    return load(at + t * stride + 64 * j);
  }
  NEARLIGHT_MEMBER const Group<K, T, made>& group(int g) const { return groups[g]; }
};

}  // namespace nearlight::NEARLIGHT_LEVEL
