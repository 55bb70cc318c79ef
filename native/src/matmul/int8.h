// Products of quantized weights with int8 activations: panels of R rows by T tiles, whose sums stay in registers while
// the inputs pass. group.h has the arithmetic; all kernels add a block with the same function, so their results have the
// same bits.
//
// gemv.h   few rows are one panel, which opens codes in registers; bound by reading the matrix while ten multiplying
//          instructions per row and block take less time than its bytes
// gemm.h   more rows are several, which meet two tiles one after the other, a chunk of inputs at a time. The first
//          keeps what it opens in a scratch that stays in the nearest cache. 96 dot products per block of a 6 by 2
//          panel against 12 to 24 multiplications: at most 80 to 89 % of the peak
//
// But for the fewest rows, both ask for the tiles that come next as one stream, into the second cache, while they work
// on these: prefetches into the nearest get lost when its queues are full, and two tiles read at once are no stream.
#pragma once

#include "blocks.h"

namespace nearlight::NEARLIGHT_LEVEL {

// Steps that a row with few registers takes without a loop: AVX2's joins some, and where dot products are long, compilers
// are.
constexpr int kStepsAtOnce = kRegisters == 2 ? 8 : 1;

// Adds a block of T tiles to the sums of R rows.
//
// Where registers are many, all rows meet a vector of codes at once: a dot product takes long, and rows do not wait for
// rows. Where they are few, one row's sums are there at a time, from the beginning of a group to its end.
template <class Block, int T, int R>
NEARLIGHT_INLINE void add_block(const Block& block, const uint8_t* activations, f32x16 (&acc)[T][R]) {
  using K = typename Block::K;
  using Dots = typename K::Dots;
  static_assert(Block::kTiles == T);
  const Activations<R> x{activations};
  const auto begin = [&](int g, int r, Dots (&dots)[T]) __attribute__((always_inline)) {
    const i32x16 start = K::begin(x, g, r);
    for (int t = 0; t < T; t++) dots[t].sum = start;
  };
  const auto add = [&](int g, int step, int r, const u8x64 (&codes)[T], Dots (&dots)[T])
                       __attribute__((always_inline)) {
    const s8x64 four = x.codes(g * K::kSteps + step, r);
    for (int t = 0; t < T; t++) dots[t].add(step, codes[t], four);
  };
  unrolled<K::kGroups>([&](auto g) __attribute__((always_inline)) {
    const auto& ends = block.group(g);
    u8x64 codes[K::kSteps][T];
    const auto open = [&](auto step) __attribute__((always_inline)) {
      for (int t = 0; t < T; t++) codes[step][t] = block.template codes<g * K::kSteps + step>(t);
    };
    f32x16 mins[T];
    const auto end = [&](int r, const Activations<R>& same, const Dots (&dots)[T]) __attribute__((always_inline)) {
      const uint32_t multiple = same.multiple(r, K::kMultiples);
      for (int t = 0; t < T; t++) {
        acc[t][r] = K::end(dots[t].sum, ends.scale(t, multiple), mins[t], same, g, r, acc[t][r]);
      }
    };
    if constexpr (Block::kRowsInside) {
      Dots dots[R][T];
      for (int r = 0; r < R; r++) begin(g, r, dots[r]);
      unrolled<K::kSteps>([&](auto step) __attribute__((always_inline)) {
        open(step);
        for (int r = 0; r < R; r++) add(g, step, r, codes[step], dots[r]);
      });
      const Activations<R> same = x.again();
      for (int t = 0; t < T; t++) mins[t] = ends.min(t);
      for (int r = 0; r < R; r++) end(r, same, dots[r]);
    } else {
      unrolled<K::kSteps>(open);
      for (int t = 0; t < T; t++) mins[t] = ends.min(t);
      for (int r = 0; r < R; r++) {
        Dots dots[T];
        begin(g, r, dots);
#pragma GCC unroll kStepsAtOnce
        for (int step = 0; step < K::kSteps; step++) add(g, step, r, codes[step], dots);
        end(r, x.again(), dots);
      }
    }
  });
}

// The part of what comes next that a panel asks for while it works: so many bytes with each block, and stored block.
struct Ahead {
  const uint8_t *codes, *scales;
  int64_t code_bytes, scale_bytes;

  static NEARLIGHT_MEMBER void ask(const uint8_t*& from, int64_t n_bytes) {
    for (int64_t i = 0; i < n_bytes; i += 64) prefetch_to_second_cache(from + i);
    from += n_bytes;
  }
  NEARLIGHT_MEMBER void ask_for_codes() { ask(codes, code_bytes); }
  NEARLIGHT_MEMBER void ask_for_scales() { ask(scales, scale_bytes); }
};

}  // namespace nearlight::NEARLIGHT_LEVEL
