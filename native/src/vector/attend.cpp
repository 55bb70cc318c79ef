// Attention over the KV store, in one pass over the keys and values (online softmax).
//
// A tile is a few rows of one sequence times the query heads that share a key head, so keys and values are read and
// converted once for all of them. The cache is walked in splits (kernels.h), and these in stretches of 128 tokens:
//
//     scores   [queries][128] = queries . keys        a block of 16 tokens is a vector: no horizontal sum
//     maximum, correction     running maximum m; what was summed so far is scaled by 2^(m_old - m_new)
//     sums     [queries][D]   = sums * correction + 2^(scores - m) . values
//
// Scores are in units of ln 2, the factor being part of the query's scale: powers of 2 are cheaper than those of e.
// How queries meet keys, and weights values, is the matter of the cache's format: attend_f32.h, attend_i16.h,
// attend_q8.h. Either way a row's result does not depend on which other rows were computed with it.
// Source: arXiv:1805.02867 (online softmax), arXiv:2205.14135 (FlashAttention).
#include <cmath>

#include "attend_f32.h"
#include "attend_i16.h"
#include "attend_q8.h"
#include "exp.h"
#include "ops.h"

namespace nearlight::NEARLIGHT_LEVEL {
namespace {

constexpr float kNothing = -INFINITY, kLog2e = 1.44269504f;

// What was summed for the queries of a tile: of a split, or of the splits merged so far.
struct Sums {
  int64_t n, padded;
  float *sums, *maxima, *totals;  // [n][padded], [n], [n]

  NEARLIGHT_MEMBER Sums(const AttendTile& tile, float* at)
      : n(tile.n_rows * tile.group), padded(tile.layout.padded_dim()), sums(at), maxima(at + n * padded),
        totals(maxima + n) {}

  NEARLIGHT_MEMBER void clear() {
    std::memset(sums, 0, sizeof(float) * static_cast<size_t>(n * padded));
    for (int64_t i = 0; i < n; i++) maxima[i] = kNothing, totals[i] = 0.0f;
  }

  NEARLIGHT_MEMBER void merge(const Sums& split) {
    for (int64_t i = 0; i < n; i++) {
      if (split.maxima[i] == kNothing) continue;  // one that this row does not see
      const float most = maxima[i] > split.maxima[i] ? maxima[i] : split.maxima[i];
      const f32x16 of_own = exp2_of_negative(broadcast(maxima[i] - most));
      const f32x16 of_split = exp2_of_negative(broadcast(split.maxima[i] - most));
      for (int64_t d = i * padded; d < (i + 1) * padded; d += 16) {
        store(sums + d, fma(load(split.sums + d), of_split, load(sums + d) * of_own));
      }
      maxima[i] = most;
      totals[i] = totals[i] * of_own.part[0][0] + split.totals[i] * of_split.part[0][0];
    }
  }

  // A sink's logit takes part in the softmax but has no value.
  NEARLIGHT_MEMBER void write(const AttendTile& tile) const {
    const int64_t dim = tile.layout.head_dim;
    for (int64_t i = 0; i < n; i++) {
      const float sink = tile.sinks ? tile.sinks[i % tile.group] * kLog2e : kNothing;
      const float most = maxima[i] > sink ? maxima[i] : sink;
      const f32x16 own = exp2_of_negative(broadcast(maxima[i] - most));
      const f32x16 of_sink = exp2_of_negative(broadcast(sink - most));
      const f32x16 factor = own / fma(broadcast(totals[i]), own, of_sink);
      float* out = tile.out + (i / tile.group) * tile.row_stride + (i % tile.group) * dim;
      for (int64_t d = 0; d < dim; d += 16) {
        const f32x16 result = load(sums + i * padded + d) * factor;
        if (d + 16 <= dim) {
          store(out + d, result);
        } else {
          store_lanes(out + d, result, static_cast<int>(dim - d));
        }
      }
    }
  }
};

// softcap * tanh(score / softcap) in units of ln 2, with tanh(x) = 1 - 2 / (exp(2 x) + 1).
NEARLIGHT_INLINE f32x16 capped(const f32x16& score, float softcap) {
  const f32x16 power = exp(score * broadcast(2.0f / softcap)), one = broadcast(1.0f);
  return broadcast(softcap * kLog2e) * (one - broadcast(2.0f) / (power + one));
}

// The largest of a query's scores of tokens begin .. end-1 and of what there was before. Scores from `from` (a multiple
// of 16) to begin and up to the next multiple of 16 become nothing.
NEARLIGHT_INLINE float highest_score(float* scores, int64_t from, int64_t begin, int64_t end, float softcap,
                                     float before) {
  const int64_t whole = (end + 15) / 16 * 16;
  if (softcap > 0) {
    for (int64_t t = from; t < whole; t += 16) store(scores + t, capped(load(scores + t), softcap));
  }
  for (int64_t t = from; t < begin; t++) scores[t] = kNothing;
  for (int64_t t = end; t < whole; t++) scores[t] = kNothing;
  f32x16 highest = broadcast(before);
  for (int64_t t = from; t < whole; t += 16) highest = max(highest, load(scores + t));
  return max_lane(highest);
}

// Turns scores into weights 2^(score - maximum), which put(token, weights) takes 16 at a time; returns their sum.
template <typename Put>
NEARLIGHT_INLINE float soften(const float* scores, int64_t from, int64_t end, float maximum, const Put& put) {
  const f32x16 shift = broadcast(maximum);
  f32x16 total = broadcast(0.0f);
  for (int64_t t = from; t < end; t += 16) {
    const f32x16 p = exp2_of_negative(load(scores + t) - shift);
    put(t, p);
    total = total + p;
  }
  return sum(total);
}

// A tile's walk over one format of cache.
template <typename Cache>
class Walk {
 public:
  Walk(const AttendTile& tile, Scratch& scratch)
      : tile_(tile), n_(tile.n_rows * tile.group), cache_(tile, n_, scratch),
        scores_(scratch.take<float>(n_ * kStretchTokens)) {
    const int64_t dim = tile.layout.head_dim, padded = tile.layout.padded_dim();
    const float scale = tile.scale * (tile.softcap > 0 ? 1.0f : kLog2e);
    auto* query = scratch.take<float>(padded);
    for (int64_t i = 0; i < n_; i++) {
      const float* q = tile.q + (i / tile.group) * tile.row_stride + (i % tile.group) * dim;
      for (int64_t d = 0; d < dim; d++) query[d] = q[d] * scale;
      for (int64_t d = dim; d < padded; d++) query[d] = 0.0f;
      cache_.take_query(i, query);
    }
  }

  void split(int64_t number, Sums& sums) {
    sums.clear();
    const int64_t after = tile_.positions[tile_.n_rows - 1] + 1, end = (number + 1) * tile_.split_tokens;
    const int64_t first = tile_.first_token(0) / kStretchTokens * kStretchTokens;
    int64_t start = number * tile_.split_tokens;
    if (start < first) start = first;
    for (; start < (end < after ? end : after); start += kStretchTokens) add_stretch(start, sums);
  }

 private:
  void add_stretch(int64_t start, Sums& sums) {
    Stretch stretch;
    int64_t begins[kMaxQueries];
    if (!look(start, stretch, begins)) return;
    // What nobody has fetched ahead: the first stretch, and of the last not what the fetching in its order would bring.
    const bool alone = !begun_ || stretch.end < kStretchTokens;
    const std::byte* const values = stretch.at + tile_.layout.keys_bytes() + tile_.layout.key_scales_bytes();
    if (alone) {
      lines_of(tile_.layout, stretch.at, stretch.begin, stretch.end, [](const std::byte* line) { touch(line); });
    }
    if (!alone && Cache::kTouches) touch(stretch.at, values);
    begun_ = true;
    cache_.score(stretch, scores_);
    // One thing for all queries, then the next: each waits long for its maximum, but they do not wait for each other.
    alignas(64) float risen[kMaxQueries] = {}, corrections[kMaxQueries];
    for (int64_t i = stretch.first; i < stretch.last; i++) {
      const float before = sums.maxima[i];
      sums.maxima[i] =
          highest_score(scores_ + i * kStretchTokens, stretch.begin, begins[i], stretch.ends[i], tile_.softcap, before);
      risen[i] = before - sums.maxima[i];
    }
    for (int64_t i = stretch.first / 16 * 16; i < stretch.last; i += 16) {
      store(corrections + i, exp2_of_negative(load(risen + i)));
    }
    for (int64_t i = stretch.first; i < stretch.last; i++) {
      auto weights = cache_.weights(stretch, i, scores_ + i * kStretchTokens);
      const int64_t end = (stretch.ends[i] + 15) / 16 * 16;
      const float gained = soften(scores_ + i * kStretchTokens, stretch.begin, end, sums.maxima[i],
                                  [&](int64_t token, const f32x16& p) { weights.put(token, p); });
      sums.totals[i] = sums.totals[i] * corrections[i] + gained;
      weights.end(end);
    }
    if (!alone && Cache::kTouches) touch(values, stretch.at + tile_.layout.stretch_bytes());
    cache_.weigh(stretch, corrections, sums.sums);
  }

  // What the tile sees of the stretch from `start` on, and where each query begins; false if nothing.
  bool look(int64_t start, Stretch& stretch, int64_t* begins) const {
    int64_t first = 0, last = tile_.n_rows;
    while (first < last && tile_.positions[first] < start) first++;
    while (first < last && tile_.first_token(last - 1) >= start + kStretchTokens) last--;
    if (first == last) return false;
    for (int64_t row = first; row < last; row++) {
      const int64_t before = tile_.first_token(row) - start, after = tile_.positions[row] + 1 - start;
      for (int64_t i = row * tile_.group; i < (row + 1) * tile_.group; i++) {
        begins[i] = before > 0 ? before : 0;
        stretch.ends[i] = after < kStretchTokens ? after : kStretchTokens;
      }
    }
    const int64_t next = start + kStretchTokens;
    stretch.at = stretch_of(tile_.layout, tile_.segments, tile_.kv_head, start);
    stretch.next = next > tile_.positions[tile_.n_rows - 1]
                    ? stretch.at
                    : stretch_of(tile_.layout, tile_.segments, tile_.kv_head, next);
    stretch.first = first * tile_.group, stretch.last = last * tile_.group;
    stretch.begin = begins[stretch.first] / kKeyBlock * kKeyBlock, stretch.end = stretch.ends[stretch.last - 1];
    return true;
  }

  const AttendTile& tile_;
  int64_t n_;
  Cache cache_;
  float* scores_;  // [query][token]
  bool begun_ = false;
};

// Calls f with the walk that suits the cache's format.
template <typename F>
NEARLIGHT_INLINE void with_walk(const AttendTile& tile, Scratch& scratch, const F& f) {
  switch (tile.layout.format) {
    case KVFormat::F32: return f(Walk<F32Cache>(tile, scratch));
    case KVFormat::I16: return f(Walk<I16Cache>(tile, scratch));
    case KVFormat::Q8: return f(Walk<Q8Cache>(tile, scratch));
  }
}

}  // namespace

void append(const KVLayout& layout, std::byte* const* segments, int64_t position, int64_t first, int64_t end,
            const float* keys, const float* values) {
  const int64_t token = position % kStretchTokens;
  for (int64_t h = first; h < end; h++) {  // a token's key lies in as many cache lines as it has pairs
    lines_of(layout, stretch_of(layout, segments, h, position), token, token + 1,
             [](const std::byte* line) { prefetch_to_write(line); });
  }
  for (int64_t h = first; h < end; h++) {
    const float *k = keys + h * layout.head_dim, *v = values + h * layout.head_dim;
    std::byte* stretch = stretch_of(layout, segments, h, position);
    switch (layout.format) {
      case KVFormat::F32: append_f32(layout, stretch, token, k, v); break;
      case KVFormat::I16: append_i16(layout, stretch, token, k, v); break;
      case KVFormat::Q8: append_q8(layout, stretch, token, k, v); break;
    }
  }
}

void attend_split(const AttendTile& tile, int64_t number, float* sums) {
  Scratch scratch{reinterpret_cast<std::byte*>(tile.scratch)};
  Sums split(tile, sums);
  with_walk(tile, scratch, [&](auto&& walk) { walk.split(number, split); });
}

void merge_splits(const AttendTile& tile, float* sums) {
  const int64_t floats = attend_split_floats(tile.layout, tile.n_rows * tile.group);
  Sums merged(tile, tile.scratch);
  merged.clear();
  for (int64_t i = 0; i < tile.n_splits; i++) merged.merge(Sums(tile, sums + i * floats));
  merged.write(tile);
}

void attend(const AttendTile& tile) {
  Scratch scratch{reinterpret_cast<std::byte*>(tile.scratch)};
  const int64_t floats = attend_split_floats(tile.layout, tile.n_rows * tile.group);
  Sums split(tile, scratch.take<float>(floats)), merged(tile, scratch.take<float>(floats));
  with_walk(tile, scratch, [&](auto&& walk) {
    merged.clear();
    for (int64_t i = 0; i < tile.n_splits; i++) {
      walk.split(tile.first_split + i, split);
      merged.merge(split);
    }
  });
  merged.write(tile);
}

}  // namespace nearlight::NEARLIGHT_LEVEL
