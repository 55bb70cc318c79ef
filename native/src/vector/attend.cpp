// Attention over the KV store, in one pass over the keys and values (online softmax).
//
// A tile is a few rows of one sequence times the query heads that share a key head, so keys and values are read and
// converted once for all of them. The cache is walked in stretches of 128 tokens from position 0:
//
//     scores   [queries][128] = queries . keys        a block of 16 tokens is a vector: no horizontal sum
//     maximum, correction     running maximum m; what was summed so far is scaled by exp(m_old - m_new)
//     sums     [queries][D]  += exp(scores - m) . values
//
// Every sum runs in the order of dimensions or tokens, whatever the tile, so a row's result does not depend on which
// other rows were computed with it.
// Source: arXiv:1805.02867 (online softmax), arXiv:2205.14135 (FlashAttention).
#include <cmath>

#include "exp.h"
#include "ops.h"

namespace nearlight::NEARLIGHT_LEVEL {
namespace {

// Sums that a kernel keeps in registers at once.
constexpr int kSums = kRegisters == 1 ? 16 : 4;

NEARLIGHT_INLINE f32x16 load_cells(const float* from) { return load(from); }
NEARLIGHT_INLINE f32x16 load_cells(const uint16_t* from) { return load_f16(from); }
NEARLIGHT_INLINE void store_cell(float* to, float value) { *to = value; }
NEARLIGHT_INLINE void store_cell(uint16_t* to, float value) { *to = f16_from_f32(value); }

// scores[q][16 * b ...] = query q . key block b, for NQ queries and NB blocks.
template <int NQ, int NB, typename Cell>
NEARLIGHT_INLINE void score_tile(const Cell* keys, const float* queries, float* scores, int64_t dim, int64_t stride) {
  f32x16 total[NQ][NB];
  for (int q = 0; q < NQ; q++) {
    for (int b = 0; b < NB; b++) total[q][b] = broadcast(0.0f);
  }
  for (int64_t d = 0; d < dim; d++) {
    f32x16 key[NB];
    for (int b = 0; b < NB; b++) key[b] = load_cells(keys + (b * dim + d) * kBlockTokens);
    for (int q = 0; q < NQ; q++) {
      const f32x16 value = broadcast(queries[q * stride + d]);
      for (int b = 0; b < NB; b++) total[q][b] = fma(key[b], value, total[q][b]);
    }
  }
  for (int q = 0; q < NQ; q++) {
    for (int b = 0; b < NB; b++) store(scores + q * kStretchTokens + b * kBlockTokens, total[q][b]);
  }
}

template <int NQ, typename Cell>
NEARLIGHT_INLINE void score_blocks(const Cell* keys, int64_t n_blocks, const float* queries, float* scores, int64_t dim,
                                   int64_t stride) {
  constexpr int NB = kSums / NQ < 8 ? kSums / NQ : 8;
  int64_t b = 0;
  for (; b + NB <= n_blocks; b += NB) {
    score_tile<NQ, NB>(keys + b * dim * kBlockTokens, queries, scores + b * kBlockTokens, dim, stride);
  }
  for (; b < n_blocks; b++) {
    score_tile<NQ, 1>(keys + b * dim * kBlockTokens, queries, scores + b * kBlockTokens, dim, stride);
  }
}

template <typename Cell>
void score(const Cell* keys, int64_t n_blocks, const float* queries, float* scores, int64_t n_queries, int64_t dim,
           int64_t stride) {
  int64_t q = 0;
  for (; q + 4 <= n_queries; q += 4) {
    score_blocks<4>(keys, n_blocks, queries + q * stride, scores + q * kStretchTokens, dim, stride);
  }
  for (; q < n_queries; q++) {
    score_blocks<1>(keys, n_blocks, queries + q * stride, scores + q * kStretchTokens, dim, stride);
  }
}

// Turn n scores of a query into exp(score - maximum), bringing maximum, total and sums up to date.
NEARLIGHT_INLINE void soften(float* scores, int64_t n, float& maximum, float& total, float* sums, int64_t padded) {
  const float nothing = -INFINITY;
  const int64_t whole = (n + 15) / 16 * 16;
  for (int64_t i = n; i < whole; i++) scores[i] = nothing;
  f32x16 highest = broadcast(maximum);
  for (int64_t i = 0; i < whole; i += 16) highest = max(highest, load(scores + i));
  const float before = maximum;
  maximum = max_lane(highest);
  const f32x16 shift = broadcast(maximum);
  f32x16 gained = broadcast(0.0f);
  for (int64_t i = 0; i < whole; i += 16) {
    const f32x16 p = exp(load(scores + i) - shift);
    store(scores + i, p);
    gained = gained + p;
  }
  const f32x16 correction = exp(broadcast(before) - shift);
  total = total * correction.part[0][0] + sum(gained);
  for (int64_t d = 0; d < padded; d += 16) store(sums + d, load(sums + d) * correction);
}

// sums[q][16 * c ...] += over tokens p[q][t] * values[t][16 * c ...], for NQ queries and NC vectors of dimensions.
template <int NQ, int NC, typename Cell>
NEARLIGHT_INLINE void weigh_tile(const Cell* values, const float* p, int64_t begin, int64_t end, float* sums,
                                 int64_t padded) {
  f32x16 total[NQ][NC];
  for (int q = 0; q < NQ; q++) {
    for (int c = 0; c < NC; c++) total[q][c] = load(sums + q * padded + 16 * c);
  }
  for (int64_t t = begin; t < end; t++) {
    f32x16 value[NC];
    for (int c = 0; c < NC; c++) value[c] = load_cells(values + t * padded + 16 * c);
    for (int q = 0; q < NQ; q++) {
      const f32x16 weight = broadcast(p[q * kStretchTokens + t]);
      for (int c = 0; c < NC; c++) total[q][c] = fma(value[c], weight, total[q][c]);
    }
  }
  for (int q = 0; q < NQ; q++) {
    for (int c = 0; c < NC; c++) store(sums + q * padded + 16 * c, total[q][c]);
  }
}

template <int NQ, typename Cell>
NEARLIGHT_INLINE void weigh(const Cell* values, const float* p, int64_t begin, int64_t end, float* sums,
                            int64_t padded) {
  constexpr int NC = kSums / NQ < 8 ? kSums / NQ : 8;
  int64_t d = 0;
  for (; d + 16 * NC <= padded; d += 16 * NC) weigh_tile<NQ, NC>(values + d, p, begin, end, sums + d, padded);
  for (; d < padded; d += 16) weigh_tile<NQ, 1>(values + d, p, begin, end, sums + d, padded);
}

// The queries of a tile and what has been summed for each.
struct Queries {
  int64_t n, dim, padded;
  float *queries, *sums, *scores;  // [n][padded], [n][padded], [n][kStretchTokens]
  float maximum[kMaxQueries], total[kMaxQueries];
};

NEARLIGHT_INLINE void begin_queries(const AttendTile& tile, Queries& state) {
  const int64_t dim = tile.layout.head_dim, padded = tile.layout.padded_dim(), n = tile.n_rows * tile.group;
  state.n = n, state.dim = dim, state.padded = padded;
  state.queries = tile.scratch;
  state.sums = state.queries + n * padded;
  state.scores = state.sums + n * padded;
  for (int64_t i = 0; i < n; i++) {
    const float* q = tile.q + (i / tile.group) * tile.row_stride + (i % tile.group) * dim;
    for (int64_t d = 0; d < dim; d++) state.queries[i * padded + d] = q[d] * tile.scale;
    for (int64_t d = 0; d < padded; d++) state.sums[i * padded + d] = 0.0f;
    state.maximum[i] = -INFINITY;
    state.total[i] = 0.0f;
  }
}

NEARLIGHT_INLINE void end_queries(const AttendTile& tile, const Queries& state) {
  for (int64_t i = 0; i < state.n; i++) {
    float* out = tile.out + (i / tile.group) * tile.row_stride + (i % tile.group) * state.dim;
    for (int64_t d = 0; d < state.dim; d++) out[d] = state.sums[i * state.padded + d] / state.total[i];
  }
}

// Tokens of the stretch from `start` that a row at `position` sees.
NEARLIGHT_INLINE int64_t n_seen(int64_t position, int64_t start) {
  const int64_t n = position - start + 1;
  return n < 0 ? 0 : n < kStretchTokens ? n : kStretchTokens;
}

// One stretch: the rows from `first_row` on see some of it.
template <typename Cell>
NEARLIGHT_INLINE void attend_stretch(const AttendTile& tile, Queries& state, int64_t start, int64_t first_row,
                                     const Cell* keys, const Cell* values) {
  const int64_t first = first_row * tile.group, padded = state.padded;
  const int64_t most = n_seen(tile.positions[tile.n_rows - 1], start);
  score(keys, (most + kBlockTokens - 1) / kBlockTokens, state.queries + first * padded,
        state.scores + first * kStretchTokens, state.n - first, state.dim, padded);
  for (int64_t i = first; i < state.n; i++) {
    soften(state.scores + i * kStretchTokens, n_seen(tile.positions[i / tile.group], start), state.maximum[i],
           state.total[i], state.sums + i * padded, padded);
  }
  // Four queries together as far as the first of them sees, then each alone: a token beyond a row's own position is
  // not even multiplied with zero.
  int64_t i = first;
  for (; i + 4 <= state.n; i += 4) {
    const int64_t common = n_seen(tile.positions[i / tile.group], start);
    const float* p = state.scores + i * kStretchTokens;
    float* sums = state.sums + i * padded;
    weigh<4>(values, p, 0, common, sums, padded);
    for (int64_t j = 1; j < 4; j++) {
      const int64_t seen = n_seen(tile.positions[(i + j) / tile.group], start);
      if (seen > common) weigh<1>(values, p + j * kStretchTokens, common, seen, sums + j * padded, padded);
    }
  }
  for (; i < state.n; i++) {
    const int64_t seen = n_seen(tile.positions[i / tile.group], start);
    weigh<1>(values, state.scores + i * kStretchTokens, 0, seen, state.sums + i * padded, padded);
  }
}

template <typename Cell>
void attend_cells(const AttendTile& tile) {
  Queries state;
  begin_queries(tile, state);
  const int64_t last = tile.positions[tile.n_rows - 1];
  int64_t first_row = 0;
  for (int64_t start = 0; start <= last; start += kStretchTokens) {
    while (tile.positions[first_row] < start) first_row++;
    const std::byte* head = tile.segments[start / kSegmentTokens] + tile.kv_head * tile.layout.head_bytes();
    const int64_t token = start % kSegmentTokens;
    const auto* keys = reinterpret_cast<const Cell*>(head) + token * state.dim;
    const auto* values = reinterpret_cast<const Cell*>(head + tile.layout.keys_bytes()) + token * state.padded;
    attend_stretch(tile, state, start, first_row, keys, values);
  }
  end_queries(tile, state);
}

template <typename Cell>
void keep_cells(const KVLayout& layout, std::byte* segment, int64_t token, const float* k, const float* v) {
  const int64_t dim = layout.head_dim, block = token / kBlockTokens, lane = token % kBlockTokens;
  for (int64_t h = 0; h < layout.n_kv_heads; h++, k += dim, v += dim) {
    std::byte* head = segment + h * layout.head_bytes();
    auto* keys = reinterpret_cast<Cell*>(head) + block * dim * kBlockTokens + lane;
    auto* values = reinterpret_cast<Cell*>(head + layout.keys_bytes()) + token * layout.padded_dim();
    for (int64_t d = 0; d < dim; d++) {
      store_cell(keys + d * kBlockTokens, k[d]);
      store_cell(values + d, v[d]);
    }
  }
}

}  // namespace

void keep(const KVLayout& layout, std::byte* const* segments, int64_t position, const float* k, const float* v) {
  std::byte* segment = segments[position / kSegmentTokens];
  const int64_t token = position % kSegmentTokens;
  if (layout.format == KVFormat::F16) {
    keep_cells<uint16_t>(layout, segment, token, k, v);
  } else {
    keep_cells<float>(layout, segment, token, k, v);
  }
}

void attend(const AttendTile& tile) {
  if (tile.layout.format == KVFormat::F16) {
    attend_cells<uint16_t>(tile);
  } else {
    attend_cells<float>(tile);
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
