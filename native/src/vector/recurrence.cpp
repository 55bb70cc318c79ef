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

// state = 2^(step * decay) * state + step * x * b;  out = sum over the state of state * c, + d * x
void selective_scan(const ScanTile& tile) {
  const Lanes lanes{static_cast<int>(tile.n_lanes)};
  const f32x16 skip = load(tile.skips), bias = load(tile.step_biases);
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
  const float* state = tile.state;  // before the row
  for (int64_t row = 0; row < tile.n_rows; row++, state = tile.next) {
    const f32x16 step = softplus(steps_of(tile.steps + row * tile.steps_stride) + bias);
    const f32x16 x = lanes.load(tile.x + row * tile.stride), gain = step * x;
    const float *b = tile.b + row * tile.b_stride, *c = tile.c + row * tile.b_stride;
    f32x16 decay = exp2_of_negative(step * load(tile.decays)), out = broadcast(0.0f);
    for (int64_t n = 0; n < tile.state_size; n++) {
      if (tile.n_decays > 1) decay = exp2_of_negative(step * load(tile.decays + 16 * n));
      const f32x16 value = fma(decay, lanes.load(state + n * tile.n_lanes), gain * broadcast(b[n]));
      lanes.store(tile.next + n * tile.n_lanes, value);
      out = fma(value, broadcast(c[n]), out);
    }
    lanes.store(tile.out + row * tile.stride, fma(skip, x, out));
  }
}

}  // namespace nearlight::NEARLIGHT_LEVEL
