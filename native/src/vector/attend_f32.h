// Attention over caches of f32: scores and weighted sums as sums of products of pairs.
//
// Both have the same form, rows of factors times vectors of pairs, and are computed by the same kernel:
//
//     scores[query][16 tokens]  = over pairs of dimensions   query . keys
//     sums[query][16 dims]      = over pairs of tokens       softmax weights . values, added to the sums so far
//
// every element by itself, over pairs in ascending order; so its bits do not depend on how many are computed at once.
// The pairs of 16 lanes lie side by side in 32, which are added two and two at the very end.
//
// Rows see different tokens of the stretch they lie in. A tile takes the pairs that all its rows see together, and
// then each row the rest of its own: a token beyond a row's position is not even multiplied with zero.
#pragma once

#include "attend.h"

namespace nearlight::NEARLIGHT_LEVEL {

class F32Cache {
#if defined(NEARLIGHT_AVX512)
  static constexpr int kSums = 12, kTileRows = 6;  // sums that registers hold, two each
#elif defined(NEARLIGHT_AVX2)
  static constexpr int kSums = 3, kTileRows = 3;
#else
  static constexpr int kSums = 1, kTileRows = 1;
#endif
  static constexpr int64_t kVectorBytes = 32 * sizeof(float);  // 16 pairs

 public:
  static constexpr bool kTouches = false;  // reads the cache before it computes: it does not pay
  F32Cache(const AttendTile& tile, int64_t n_queries, Scratch& scratch) : layout_(tile.layout) {
    queries_ = scratch.take<float>(n_queries * layout_.padded_dim());
    weights_ = scratch.take<float>(n_queries * kStretchTokens);
    for (int64_t i = 0; i < kMaxQueries; i++) dims_[i] = layout_.key_dim();
  }

  // Takes a query in, [padded_dim], zeros past head_dim.
  NEARLIGHT_MEMBER void take_query(int64_t i, const float* query) {
    std::memcpy(queries_ + i * layout_.padded_dim(), query, sizeof(float) * static_cast<size_t>(layout_.padded_dim()));
  }

  // scores[query][token] for the queries and tokens of the stretch, in blocks of 16 tokens.
  void score(const Stretch& stretch, float* scores) {
    const Operands keys{stretch.at, stretch.at + layout_.keys_bytes(), kVectorBytes, layout_.key_block_bytes()};
    const int64_t begin = stretch.begin / kKeyBlock, end = (stretch.end + kKeyBlock - 1) / kKeyBlock;
    multiply(stretch, keys, begin, end, {queries_, layout_.padded_dim(), 0, dims_},
             [&](int64_t query, int64_t vector, const f32x16& sum) {
               store(scores + query * kStretchTokens + vector * kKeyBlock, sum);
             });
  }

  // Takes in the softmax weights of a query, 16 at a time from stretch.begin on.
  struct Weights {
    float* row;
    NEARLIGHT_MEMBER void put(int64_t token, const f32x16& weights) { store(row + token, weights); }
    NEARLIGHT_MEMBER void end(int64_t) {}
  };
  NEARLIGHT_MEMBER Weights weights(const Stretch&, int64_t i, float*) { return {weights_ + i * kStretchTokens}; }

  // sums[query] = sums[query] * corrections[query] + weights . values
  void weigh(const Stretch& stretch, const float* corrections, float* sums) {
    const int64_t padded = layout_.padded_dim();
    const Operands values{stretch.at + layout_.keys_bytes(), stretch.next, padded / 16 * kVectorBytes, kVectorBytes};
    multiply(stretch, values, 0, padded / 16, {weights_, kStretchTokens, stretch.begin, stretch.ends},
             [&](int64_t query, int64_t vector, const f32x16& sum) {
               float* to = sums + query * padded + vector * 16;
               store(to, fma(load(to), broadcast(corrections[query]), sum));
             });
  }

 private:
  struct Pairs {
    f32x16 first, second;  // lanes 0-7 and 8-15, two floats each
  };

  // Vectors of pairs in memory, vector v of pair i at begin + i * pair_bytes + v * vector_bytes.
  struct Operands {
    const std::byte *begin, *ahead;  // what is fetched meanwhile
    int64_t pair_bytes, vector_bytes;

    NEARLIGHT_MEMBER Pairs load(int64_t i, int64_t v) const {
      const int64_t at = i * pair_bytes + v * vector_bytes;
      fetch(ahead + at);
      fetch(ahead + at + 64);
      const auto* from = reinterpret_cast<const float*>(begin + at);
      return {NEARLIGHT_LEVEL::load(from), NEARLIGHT_LEVEL::load(from + 16)};
    }
    // The first of each pair, beside zeros.
    NEARLIGHT_MEMBER Pairs load_first(int64_t i, int64_t v) const {
      const i32x16 mask = bits_as<i32x16>(broadcast(int64_t{0xffffffff}));
      const Pairs a = load(i, v);
      return {bits_as<f32x16>(bits_as<i32x16>(a.first) & mask), bits_as<f32x16>(bits_as<i32x16>(a.second) & mask)};
    }
  };

  // What operands are multiplied with: values first .. ends[query]-1 of a query's row; `first` is even.
  struct Factors {
    const float* rows;
    int64_t stride, first;
    const int64_t* ends;

    NEARLIGHT_MEMBER f32x16 two(int64_t query, int64_t i) const {
      int64_t bits;
      std::memcpy(&bits, rows + query * stride + 2 * i, sizeof bits);
      return bits_as<f32x16>(broadcast(bits));
    }
  };

  NEARLIGHT_MEMBER static void add(Pairs& sum, const Pairs& a, const f32x16& factor) {
    sum.first = fma(a.first, factor, sum.first);
    sum.second = fma(a.second, factor, sum.second);
  }

  // All queries of the stretch by vectors begin .. end-1. finish(query, vector, sum) is given every result.
  template <typename Finish>
  NEARLIGHT_MEMBER void multiply(const Stretch& stretch, const Operands& operands, int64_t begin, int64_t end,
                                 const Factors& factors, const Finish& finish) {
    for (int64_t query = stretch.first; query < stretch.last; query += kTileRows) {
      const int64_t n = stretch.last - query < kTileRows ? stretch.last - query : kTileRows;
      with_constant<kTileRows>(n, [&](auto rows) {
        in_strips<power_of_two(kSums / rows)>(begin, end, [&](int64_t first, auto vectors) {
          multiply_tile<rows, vectors>(operands, first, query, factors, finish);
        });
      });
    }
  }

  template <int rows, int vectors, typename Finish>
  NEARLIGHT_MEMBER void multiply_tile(const Operands& operands, int64_t vector, int64_t query, const Factors& factors,
                                      const Finish& finish) {
    Pairs sum[rows][vectors] = {};
    const int64_t* const ends = factors.ends + query;
    int64_t common = ends[0] / 2;
    NEARLIGHT_UNROLLED for (int r = 1; r < rows; r++) common = ends[r] / 2 < common ? ends[r] / 2 : common;
    for (int64_t i = factors.first / 2; i < common; i++) {
      NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) {
        const Pairs operand = operands.load(i, vector + v);
        NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) add(sum[r][v], operand, factors.two(query + r, i));
      }
    }
    NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
      int64_t i = common;
      for (; i < ends[r] / 2; i++) {
        const f32x16 factor = factors.two(query + r, i);
        NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) add(sum[r][v], operands.load(i, vector + v), factor);
      }
      if (ends[r] % 2) {
        const f32x16 factor = factors.two(query + r, i);
        NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) add(sum[r][v], operands.load_first(i, vector + v), factor);
      }
      NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) {
        finish(query + r, vector + v, add_pairs(sum[r][v].first, sum[r][v].second));
      }
    }
  }

  const KVLayout& layout_;
  float *queries_, *weights_;
  int64_t dims_[kMaxQueries];
};

// Writes a token's key and value of one head into its stretch.
NEARLIGHT_INLINE void append_f32(const KVLayout& layout, std::byte* stretch, int64_t token, const float* k,
                                 const float* v) {
  auto* keys = reinterpret_cast<float*>(stretch + token / kKeyBlock * layout.key_block_bytes()) + token % kKeyBlock * 2;
  auto* values = reinterpret_cast<float*>(stretch + layout.keys_bytes()) + token / 2 * 2 * layout.padded_dim();
  for (int64_t d = 0; d < layout.head_dim; d++) {
    keys[d / 2 * 2 * kKeyBlock + d % 2] = k[d];
    values[d * 2 + token % 2] = v[d];
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
