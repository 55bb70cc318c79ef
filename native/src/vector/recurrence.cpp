// State space models: the short convolution and the scan, for up to 16 channels of a sequence, a lane each.
//
// Channels do not meet, so a lane's result does not depend on the others, and rows are taken one after the other in any
// case: the bits are the same however a prompt is cut.
#include "exp.h"
#include "lanes.h"
#include "ops.h"

namespace nearlight::NEARLIGHT_LEVEL {
// out = bias + the last n_taps inputs times their factors, of which the state has n_taps - 1 from before; with `silu`,
// that of it.
void causal_conv(const ConvTile& tile) {
  const Lanes lanes{static_cast<int>(tile.n_lanes)};
  const int64_t n_before = tile.n_taps - 1;
  // Input of a row, which may lie before the first.
  const auto input = [&](int64_t row) {
    return row < 0 ? lanes.load(tile.state + (row + n_before) * tile.n_lanes) : lanes.load(tile.x + row * tile.stride);
  };
  for (int64_t row = 0; row < tile.n_rows; row++) {
    const int64_t coming = (row + 8) * tile.stride;  // rows lie a step's width apart, which no processor guesses
    prefetch(tile.x + coming), prefetch_to_write(tile.out + coming);
    f32x16 sum = load(tile.bias);
    for (int64_t tap = 0; tap < tile.n_taps; tap++) {
      sum = fma(input(row - n_before + tap), load(tile.factors + 16 * tap), sum);
    }
    if (tile.silu) sum = sum / (broadcast(1.0f) + exp(broadcast(0.0f) - sum));
    lanes.store(tile.out + row * tile.stride, sum);
  }
  for (int64_t i = 0; i < n_before; i++) {
    lanes.store(tile.next + i * tile.n_lanes, input(tile.n_rows - n_before + i));
  }
}

namespace {

// What a row brings to the scan of a block, and takes from it.
struct ScanRow {
  f32x16 step, decay, gain, out;
  const float *b, *c;
};

// Advances the state by kRows rows, of which every value is loaded and stored once. One row's sum is a chain of
// additions that wait for each other; the chains of several rows fill the time.
template <int kRows, bool kOwnDecays, typename L>
NEARLIGHT_INLINE void advance(const ScanTile& tile, const L& lanes, const float* state, ScanRow (&rows)[kRows]) {
  ScanRow own[kRows];  // which no store can reach, so that it stays in registers
  for (int i = 0; i < kRows; i++) own[i] = rows[i];
  for (int64_t n = 0; n < tile.state_size; n++) {
    f32x16 value = lanes.load(state + n * tile.n_lanes);
    for (int i = 0; i < kRows; i++) {
      const f32x16 decay = kOwnDecays ? exp2_of_negative(own[i].step * load(tile.decays + 16 * n)) : own[i].decay;
      value = fma(decay, value, own[i].gain * broadcast(own[i].b[n]));
      own[i].out = fma(value, broadcast(own[i].c[n]), own[i].out);
    }
    lanes.store(tile.next + n * tile.n_lanes, value);
  }
  for (int i = 0; i < kRows; i++) rows[i].out = own[i].out;
}

// Rows first … first + kRows - 1.
template <int kRows, typename L>
void scan_rows(const ScanTile& tile, const L& lanes, int64_t first, const float* state) {
  const f32x16 skip = load(tile.skips), bias = load(tile.step_biases), decays = load(tile.decays);
  const int64_t first_head = tile.first_channel / tile.head_size;
  const bool one_head = first_head == (tile.first_channel + tile.n_lanes - 1) / tile.head_size;
  // The steps of the channels' heads.
  const auto steps_of = [&](const float* given) {
    if (tile.head_size == 1) return lanes.load(given + tile.first_channel);
    if (one_head) return broadcast(given[first_head]);
    alignas(64) float steps[16] = {};
    for (int lane = 0; lane < lanes.n; lane++) steps[lane] = given[(tile.first_channel + lane) / tile.head_size];
    return load(steps);
  };
  ScanRow rows[kRows];
  for (int i = 0; i < kRows; i++) {
    const int64_t row = first + i;
    rows[i].step = softplus(steps_of(tile.steps + row * tile.steps_stride) + bias);
    rows[i].decay = exp2_of_negative(rows[i].step * decays);
    rows[i].gain = rows[i].step * lanes.load(tile.x + row * tile.stride);
    rows[i].out = broadcast(0.0f);
    rows[i].b = tile.b + row * tile.b_stride, rows[i].c = tile.c + row * tile.b_stride;
  }
  if (tile.n_decays > 1) {
    advance<kRows, true>(tile, lanes, state, rows);
  } else {
    advance<kRows, false>(tile, lanes, state, rows);
  }
  for (int i = 0; i < kRows; i++) {
    const f32x16 x = lanes.load(tile.x + (first + i) * tile.stride);
    lanes.store(tile.out + (first + i) * tile.stride, fma(skip, x, rows[i].out));
  }
}

constexpr int kScanRows = kRegisters == 1 ? 4 : 2;  // their steps, gains and sums stay in registers

template <typename L>
void scan(const ScanTile& tile, const L& lanes) {
  const float* state = tile.state;  // before the row
  int64_t row = 0;
  for (; row + kScanRows <= tile.n_rows; row += kScanRows, state = tile.next) {
    scan_rows<kScanRows>(tile, lanes, row, state);
  }
  for (; row < tile.n_rows; row++, state = tile.next) scan_rows<1>(tile, lanes, row, state);
}

}  // namespace

// state = 2^(step * decay) * state + step * x * b;  out = sum over the state of state * c, + d * x
void selective_scan(const ScanTile& tile) {
  tile.n_lanes == 16 ? scan(tile, AllLanes{}) : scan(tile, Lanes{static_cast<int>(tile.n_lanes)});
}

}  // namespace nearlight::NEARLIGHT_LEVEL
