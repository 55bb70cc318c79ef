// Attention over caches of f16 and f32: scores and weighted sums as sums of products of pairs (pairs.h).
//
// Both have the same form, rows of factors times vectors of pairs, and are computed by the same kernel:
//
//     scores[query][16 tokens]  = over pairs of dimensions   query . keys
//     sums[query][16 dims]      = over pairs of tokens       softmax weights . values, added to the sums so far
//
// every element by itself, over pairs in ascending order; so its bits do not depend on how many are computed at once,
// nor on whether operands are converted on the way:
//
// few queries    operands are read from the cache and converted in registers; reading the cache is what takes time
// many queries   a stretch is opened first, converted into a scratch as panels that stay in the nearest cache, and
//                then met by all queries, a tile of registers at a time
//
// Rows see different tokens of the stretch they lie in. A tile takes the pairs that all its rows see together, and
// then each row the rest of its own: a token beyond a row's position is not even multiplied with zero.
#pragma once

#include "attend.h"
#include "pairs.h"

namespace nearlight::NEARLIGHT_LEVEL {

// Vectors of pairs in memory, vector v of pair i at begin + i * pair_bytes + v * vector_bytes.
template <typename P, typename Cell>
struct Stored {
  const std::byte *begin, *ahead;  // what is fetched meanwhile
  int64_t pair_bytes, vector_bytes;

  NEARLIGHT_MEMBER typename P::Operand load(int64_t i, int64_t v) const {
    const int64_t at = i * pair_bytes + v * vector_bytes;
    for (int64_t line = 0; line < static_cast<int64_t>(32 * sizeof(Cell)); line += 64) fetch(ahead + at + line);
    return P::take(reinterpret_cast<const Cell*>(begin + at));
  }
};

template <typename P>
struct Opened {
  const std::byte* begin;
  int64_t pair_bytes;

  NEARLIGHT_MEMBER typename P::Operand load(int64_t i, int64_t v) const {
    return P::opened(begin + i * pair_bytes + v * P::kOpenedBytes);
  }
};

// Products of `rows` rows of factors with `vectors` vectors from `first` on, over values begin .. ends[row]-1;
// begin is even. finish(row, vector, sum) is given every result.
template <typename P, int rows, int vectors, typename Source, typename Finish>
NEARLIGHT_INLINE void multiply_tile(const Source& source, int64_t first, const typename P::Weight* factors,
                                    int64_t stride, int64_t begin, const int64_t* ends, const Finish& finish) {
  typename P::Sum sum[rows][vectors];
  NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
    NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) sum[r][v] = P::zero();
  }
  int64_t common = ends[0] / 2;
  NEARLIGHT_UNROLLED for (int r = 1; r < rows; r++) common = ends[r] / 2 < common ? ends[r] / 2 : common;
  for (int64_t i = begin / 2; i < common; i++) {
    NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) {
      const auto operand = source.load(i, first + v);
      NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
        P::add(sum[r][v], operand, P::factor(factors + r * stride + 2 * i));
      }
    }
  }
  NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
    int64_t i = common;
    for (; i < ends[r] / 2; i++) {
      const auto factor = P::factor(factors + r * stride + 2 * i);
      NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) P::add(sum[r][v], source.load(i, first + v), factor);
    }
    if (ends[r] % 2) {
      const auto factor = P::factor(factors + r * stride + 2 * i);
      NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) {
        P::add(sum[r][v], P::first_of(source.load(i, first + v)), factor);
      }
    }
    NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) finish(r, first + v, P::total(sum[r][v]));
  }
}

template <typename Cell, typename P>
class FloatCache {
  using Weight = typename P::Weight;
  static constexpr int kFewQueries = P::kSums < 8 ? P::kSums : 8;
  static constexpr int64_t kVectorBytes = 32 * sizeof(Cell);  // 16 pairs

 public:
  static constexpr bool kTouches = false;  // reads the cache before it computes: it does not pay
  FloatCache(const AttendTile& tile, int64_t n_queries, Scratch& scratch)
      : layout_(tile.layout), few_(n_queries <= kFewQueries) {
    queries_ = scratch.take<Weight>(n_queries * layout_.padded_dim());
    weights_ = scratch.take<Weight>(n_queries * kStretchTokens);
    for (int64_t i = 0; i < kMaxQueries; i++) dims_[i] = layout_.key_dim();
    if (few_) return;
    keys_ = scratch.take<std::byte>(kStretchTokens / 32 * layout_.key_dim() * P::kOpenedBytes);
    values_ = scratch.take<std::byte>(kStretchTokens / 32 * layout_.padded_dim() * P::kOpenedBytes);
  }

  // Takes a query in, [padded_dim], zeros past head_dim.
  NEARLIGHT_MEMBER void take_query(int64_t i, const float* query) {
    const int64_t padded = layout_.padded_dim();
    for (int64_t d = 0; d < padded; d += 16) P::put(queries_ + i * padded + d, load(query + d));
  }

  // scores[query][token] for the queries and tokens of the view, in blocks of 16 tokens.
  void score(const View& view, float* scores) {
    const Operands keys{{view.at, view.at + layout_.keys_bytes(), kVectorBytes, layout_.key_block_bytes()},
                        keys_, kStretchTokens / kKeyBlock, layout_.key_dim() / 2};
    const int64_t begin = view.begin / kKeyBlock, end = (view.end + kKeyBlock - 1) / kKeyBlock;
    if (!few_) open(keys, 0, keys.n_pairs, begin, end);
    multiply(view, keys, begin, end, {queries_, layout_.padded_dim(), 0, dims_},
             [&](int64_t query, int64_t vector, const f32x16& sum) {
               store(scores + query * kStretchTokens + vector * kKeyBlock, sum);
             });
  }

  // Takes in the softmax weights of a query, 16 at a time from view.begin on.
  struct Weights {
    Weight* row;
    NEARLIGHT_MEMBER void put(int64_t token, const f32x16& weights) { P::put(row + token, weights); }
    NEARLIGHT_MEMBER void end(int64_t) {}
  };
  NEARLIGHT_MEMBER Weights weights(const View&, int64_t i, float*) { return {weights_ + i * kStretchTokens}; }

  // sums[query] = sums[query] * corrections[query] + weights . values
  void weigh(const View& view, const float* corrections, float* sums) {
    const int64_t padded = layout_.padded_dim();
    const Operands values{{view.at + layout_.keys_bytes(), view.next, padded / 16 * kVectorBytes, kVectorBytes},
                          values_, padded / 16, kStretchTokens / 2};
    if (!few_) open(values, view.begin / 2, (view.end + 1) / 2, 0, values.n_vectors);
    multiply(view, values, 0, values.n_vectors, {weights_, kStretchTokens, view.begin, view.ends},
             [&](int64_t query, int64_t vector, const f32x16& sum) {
               float* to = sums + query * padded + vector * 16;
               store(to, fma(load(to), broadcast(corrections[query]), sum));
             });
  }

 private:
  // Keys or values of a stretch: in the cache, and in panels of kTileVectors, each [n_pairs][its width], where they are
  // opened.
  struct Operands {
    Stored<P, Cell> stored;
    std::byte* opened;
    int64_t n_vectors, n_pairs;

    NEARLIGHT_MEMBER int64_t width(int64_t panel) const {
      const int64_t rest = n_vectors - panel * P::kTileVectors;
      return rest < P::kTileVectors ? rest : P::kTileVectors;
    }
    NEARLIGHT_MEMBER std::byte* panel(int64_t number) const {
      return opened + number * P::kTileVectors * n_pairs * P::kOpenedBytes;
    }
  };

  // What operands are multiplied with: values first .. ends[query]-1 of a query's row.
  struct Factors {
    const Weight* rows;
    int64_t stride, first;
    const int64_t* ends;
  };

  // Opens pairs first .. last-1 of the panels in which vectors begin .. end-1 lie.
  void open(const Operands& operands, int64_t first, int64_t last, int64_t begin, int64_t end) {
    for (int64_t number = begin / P::kTileVectors; number * P::kTileVectors < end; number++) {
      const int64_t width = operands.width(number), vector = number * P::kTileVectors;
      std::byte* to = operands.panel(number) + first * width * P::kOpenedBytes;
      for (int64_t i = first; i < last; i++, to += width * P::kOpenedBytes) {
        for (int64_t v = 0; v < width; v++) P::open(operands.stored.load(i, vector + v), to + v * P::kOpenedBytes);
      }
    }
  }

  // All queries of the view by vectors begin .. end-1, from the cache or from what was opened.
  template <typename Finish>
  void multiply(const View& view, const Operands& operands, int64_t begin, int64_t end, const Factors& factors,
                const Finish& finish) {
    if (few_) {
      multiply_rows<kFewQueries, 8>(operands.stored, view.first, view.last, begin, end, 0, factors, finish);
      return;
    }
    for (int64_t number = begin / P::kTileVectors; number * P::kTileVectors < end; number++) {
      const int64_t width = operands.width(number), vector = number * P::kTileVectors;
      const Opened<P> source{operands.panel(number), width * P::kOpenedBytes};
      const int64_t from = begin > vector ? begin - vector : 0, to = end - vector < width ? end - vector : width;
      for (int64_t query = view.first; query < view.last; query += P::kTileRows) {
        const int64_t last = query + P::kTileRows < view.last ? query + P::kTileRows : view.last;
        multiply_rows<P::kTileRows, P::kTileVectors>(source, query, last, from, to, vector, factors, finish);
      }
    }
  }

  // Queries first .. last-1, at most kMostRows, by vectors begin .. end-1 of the source, the first of which is number
  // `vector` of all.
  template <int kMostRows, int kMostVectors, typename Source, typename Finish>
  NEARLIGHT_MEMBER void multiply_rows(const Source& source, int64_t first, int64_t last, int64_t begin, int64_t end,
                                      int64_t vector, const Factors& factors, const Finish& finish) {
    with_constant<kMostRows>(last - first, [&](auto rows) {
      constexpr int kStrip = power_of_two(P::kSums / rows);
      in_strips<kStrip < kMostVectors ? kStrip : kMostVectors>(begin, end, [&](int64_t v, auto vectors) {
        multiply_tile<P, rows, vectors>(
            source, v, factors.rows + first * factors.stride, factors.stride, factors.first, factors.ends + first,
            [&](int row, int64_t at, const f32x16& sum) { finish(first + row, vector + at, sum); });
      });
    });
  }

  const KVLayout& layout_;
  bool few_;
  Weight *queries_, *weights_;
  std::byte *keys_ = nullptr, *values_ = nullptr;  // opened
  int64_t dims_[kMaxQueries];
};

NEARLIGHT_INLINE void put_cells(float* to, const f32x16& v) { store(to, v); }
NEARLIGHT_INLINE void put_cells(uint16_t* to, const f32x16& v) { store_f16(to, v); }

// Writes a token's key and value of one head into its stretch.
template <typename Cell>
NEARLIGHT_INLINE void keep_floats(const KVLayout& layout, std::byte* stretch, int64_t token, const float* k,
                                  const float* v) {
  const int64_t dim = layout.head_dim, padded = layout.padded_dim();
  auto* keys = reinterpret_cast<Cell*>(stretch + token / kKeyBlock * layout.key_block_bytes()) + token % kKeyBlock * 2;
  auto* values = reinterpret_cast<Cell*>(stretch + layout.keys_bytes()) + token / 2 * 2 * padded + token % 2;
  for (int64_t d = 0; d < dim; d += 16) {
    const int64_t n = dim - d < 16 ? dim - d : 16;
    Cell key[16], value[16];
    put_cells(key, n == 16 ? load(k + d) : load_lanes(k + d, static_cast<int>(n)));
    put_cells(value, n == 16 ? load(v + d) : load_lanes(v + d, static_cast<int>(n)));
    for (int64_t i = 0; i < n; i++) {
      keys[(d + i) / 2 * 2 * kKeyBlock + (d + i) % 2] = key[i];
      values[(d + i) * 2] = value[i];
    }
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
