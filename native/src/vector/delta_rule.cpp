// The gated delta rule, for up to 32 channels of one head of a sequence.
//
// A channel is a column of the head's state: the columns share keys, queries and gates and do not meet, so a vector lane
// has one each. Rows are taken one after the other, and a sum over key dimensions is always one of the even ones and one
// of the odd: the bits are the same however a prompt is cut. The pass that writes the state after a row also reads out
// what the next row's key recalls of it, so the state goes through the registers once a row; that of 32 channels stays in
// the first cache.
#include <algorithm>

#include "exp.h"
#include "lanes.h"
#include "ops.h"

namespace nearlight::NEARLIGHT_LEVEL {
namespace {

// Blocks of 16 channels that are taken together: as many as have their sums and updates in registers.
constexpr int kBlocks = kRegisters == 1 ? 2 : 1;

// Of 16 rows: what the state is multiplied by, and how far what it recalls moves to the row's value.
struct Gates {
  alignas(64) float decays[16], betas[16];
};

NEARLIGHT_INLINE Gates gates_from(const DeltaTile& tile, int64_t row) {
  Gates gates;
  float a[16] = {}, b[16] = {};
  const int64_t n = std::min<int64_t>(16, tile.n_rows - row);
  for (int64_t i = 0; i < n; i++) {
    a[i] = tile.a[(row + i) * tile.gate_stride];
    b[i] = tile.b[(row + i) * tile.gate_stride];
  }
  const f32x16 one = broadcast(1.0f), steps = softplus(load(a) + broadcast(tile.bias));
  store(gates.decays, exp2_of_negative(steps * broadcast(tile.rate)));
  store(gates.betas, one / (one + exp(broadcast(0.0f) - load(b))));
  return gates;
}

// Sums over key dimensions of N blocks of channels, of the even ones and the odd ones: two, to hide a sum's latency.
template <int N>
struct Sums {
  f32x16 even[N], odd[N];
  NEARLIGHT_MEMBER Sums() {
    for (int n = 0; n < N; n++) even[n] = odd[n] = broadcast(0.0f);
  }
  NEARLIGHT_MEMBER f32x16 total(int n) const { return even[n] + odd[n]; }
};

// Ask for what the rows after `row` bring: they lie a whole step's width apart, which no processor guesses.
NEARLIGHT_INLINE void fetch_next(const DeltaTile& tile, int64_t row) {
  const float *q = tile.q + (row + 1) * tile.key_stride, *k = tile.k + (row + 2) * tile.key_stride;
  for (int64_t i = 0; i < tile.key_dim; i += 16) prefetch(q + i), prefetch(k + i);
  const int64_t at = (row + 1) * tile.stride;
  for (int64_t i = 0; i < tile.n_lanes; i += 16) prefetch(tile.v + at + i), prefetch(tile.out + at + i);
}

// Advance N blocks of channels, from `first` on. With S a head's state, for every row:
//     S = decay * S;  S = S + k (beta * (v - S^T k))^T;  out = scale * S^T q
template <int N, typename L>
NEARLIGHT_INLINE void advance(const DeltaTile& tile, int64_t first, const L& lanes) {
  const float* state = tile.state + first;  // before the row
  float* const next = tile.next + first;
  const int64_t dims = tile.key_dim, even_dims = dims / 2 * 2;
  Sums<N> recalled;  // S^T k of the coming row, before its decay
  const auto recall = [&](int64_t i, f32x16* sums) {
    const f32x16 key = broadcast(tile.k[i]);
    for (int n = 0; n < N; n++) sums[n] = fma(lanes.load(state + i * tile.n_lanes + 16 * n), key, sums[n]);
  };
  for (int64_t i = 0; i < even_dims; i += 2) recall(i, recalled.even), recall(i + 1, recalled.odd);
  if (even_dims < dims) recall(even_dims, recalled.even);

  Gates gates;
  for (int64_t row = 0; row < tile.n_rows; row++, state = next) {
    fetch_next(tile, row);
    if (row % 16 == 0) gates = gates_from(tile, row);
    const f32x16 decay = broadcast(gates.decays[row % 16]), beta = broadcast(gates.betas[row % 16]);
    const float *k = tile.k + row * tile.key_stride, *q = tile.q + row * tile.key_stride;
    const float* const coming = row + 1 < tile.n_rows ? k + tile.key_stride : k;  // of the last row nothing comes
    const int64_t at = row * tile.stride + first;
    f32x16 update[N];
    for (int n = 0; n < N; n++) update[n] = beta * (lanes.load(tile.v + at + 16 * n) - decay * recalled.total(n));
    Sums<N> out, ahead;
    const auto pass = [&](int64_t i, f32x16* out_sums, f32x16* ahead_sums) {
      const f32x16 key = broadcast(k[i]), query = broadcast(q[i]), next_key = broadcast(coming[i]);
      for (int n = 0; n < N; n++) {
        const int64_t place = i * tile.n_lanes + 16 * n;
        const f32x16 value = fma(decay, lanes.load(state + place), key * update[n]);
        lanes.store(next + place, value);
        out_sums[n] = fma(value, query, out_sums[n]);
        ahead_sums[n] = fma(value, next_key, ahead_sums[n]);
      }
    };
    for (int64_t i = 0; i < even_dims; i += 2) pass(i, out.even, ahead.even), pass(i + 1, out.odd, ahead.odd);
    if (even_dims < dims) pass(even_dims, out.even, ahead.even);
    for (int n = 0; n < N; n++) lanes.store(tile.out + at + 16 * n, broadcast(tile.scale) * out.total(n));
    recalled = ahead;
  }
}

}  // namespace

void gated_delta_rule(const DeltaTile& tile) {
  int64_t first = 0;
  for (; first + 16 * kBlocks <= tile.n_lanes; first += 16 * kBlocks) advance<kBlocks>(tile, first, AllLanes{});
  for (; first < tile.n_lanes; first += 16) {
    advance<1>(tile, first, Lanes{static_cast<int>(std::min<int64_t>(16, tile.n_lanes - first))});
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
