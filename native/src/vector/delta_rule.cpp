// The gated delta rule, for up to 64 channels of one head of a sequence.
//
// A channel is a column of the head's state: the columns share keys, queries and gates and do not meet, so a vector lane
// has one each. Rows are taken one after the other, and every sum is over key dimensions in ascending order: the bits
// are the same however a prompt is cut. The pass that writes the state after a row also reads out what the next row's
// key recalls of it, so the state goes through the registers once a row; that of 64 channels stays in the first cache.
#include <algorithm>

#include "exp.h"
#include "lanes.h"
#include "ops.h"

namespace nearlight::NEARLIGHT_LEVEL {
namespace {

// Blocks of 16 channels that are taken together: their sums and updates fill most of the registers.
constexpr int kBlocks = std::max(4 / kRegisters, 1);

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

// Advance N blocks of channels, from `first` on. With S a head's state, for every row:
//     S = decay * S;  S = S + k (beta * (v - S^T k))^T;  out = scale * S^T q
template <int N, typename L>
NEARLIGHT_INLINE void advance(const DeltaTile& tile, int64_t first, const L& lanes) {
  const float* state = tile.state + first * tile.key_dim;  // before the row
  float* const next = tile.next + first * tile.key_dim;
  const int64_t block = tile.key_dim * lanes.n;
  f32x16 recalled[N];  // S^T k of the coming row, before its decay
  for (int n = 0; n < N; n++) recalled[n] = broadcast(0.0f);
  for (int64_t i = 0; i < tile.key_dim; i++) {
    const f32x16 key = broadcast(tile.k[i]);
    for (int n = 0; n < N; n++) recalled[n] = fma(lanes.load(state + n * block + i * lanes.n), key, recalled[n]);
  }
  Gates gates;
  for (int64_t row = 0; row < tile.n_rows; row++, state = next) {
    if (row % 16 == 0) gates = gates_from(tile, row);
    const f32x16 decay = broadcast(gates.decays[row % 16]), beta = broadcast(gates.betas[row % 16]);
    const float *k = tile.k + row * tile.key_stride, *q = tile.q + row * tile.key_stride;
    const float* const coming = row + 1 < tile.n_rows ? k + tile.key_stride : k;  // of the last row nothing comes
    const int64_t at = row * tile.stride + first;
    f32x16 update[N], out[N];
    for (int n = 0; n < N; n++) {
      update[n] = beta * (lanes.load(tile.v + at + 16 * n) - decay * recalled[n]);
      out[n] = recalled[n] = broadcast(0.0f);
    }
    for (int64_t i = 0; i < tile.key_dim; i++) {
      const f32x16 key = broadcast(k[i]), query = broadcast(q[i]), next_key = broadcast(coming[i]);
      for (int n = 0; n < N; n++) {
        const int64_t place = n * block + i * lanes.n;
        const f32x16 value = fma(decay, lanes.load(state + place), key * update[n]);
        lanes.store(next + place, value);
        out[n] = fma(value, query, out[n]);
        recalled[n] = fma(value, next_key, recalled[n]);
      }
    }
    for (int n = 0; n < N; n++) lanes.store(tile.out + at + 16 * n, broadcast(tile.scale) * out[n]);
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
