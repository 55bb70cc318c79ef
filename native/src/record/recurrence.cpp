// State space models: the convolution and the scan as commands, cut by channels. See record.h.
//
// Channels are taken 16 at a time, a lane each (vector/recurrence.cpp); a block does not reach from one group into the
// next. A state lies block by block, [its values][its lanes], so that a block is one stretch of memory. What kernels
// want of the parameters is put in that order when the op is recorded.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../level.h"
#include "states.h"

namespace nearlight {
namespace {

constexpr float kLog2e = 1.44269504f;
constexpr int64_t kBlock = 16;

// Channels of n_groups groups in blocks.
struct Blocks {
  int64_t n_groups, group_width, per_group;

  Blocks(int64_t width, int64_t groups)
      : n_groups(groups), group_width(width / groups), per_group((group_width + kBlock - 1) / kBlock) {}

  int64_t size() const { return n_groups * per_group; }
  int64_t group(int64_t block) const { return block / per_group; }
  int64_t first_channel(int64_t block) const { return group(block) * group_width + block % per_group * kBlock; }
  int64_t n_lanes(int64_t block) const { return std::min(kBlock, group_width - block % per_group * kBlock); }
};

// values(channel, i) of n for every channel, as [block][n][16 lanes]; lanes without a channel are zeros.
template <typename F>
std::shared_ptr<const std::vector<float>> by_lane(const Blocks& blocks, int64_t n, const F& values) {
  auto laid_out = std::make_shared<std::vector<float>>(static_cast<size_t>(blocks.size() * n * kBlock));
  for (int64_t block = 0; block < blocks.size(); block++) {
    for (int64_t i = 0; i < n; i++) {
      for (int64_t lane = 0; lane < blocks.n_lanes(block); lane++) {
        const auto at = static_cast<size_t>((block * n + i) * kBlock + lane);
        (*laid_out)[at] = values(blocks.first_channel(block) + lane, i);
      }
    }
  }
  return laid_out;
}

}  // namespace

Activation causal_conv(Tape& tape, const Activation& x, VectorRef weight, VectorRef bias,
                       std::shared_ptr<RecurrentStore> store, bool silu) {
  Activation out = new_activation(tape, x.rows, x.width);
  const int64_t width = x.width, n_taps = weight->size / width;
  const Blocks blocks(width, 1);
  const auto factors = by_lane(blocks, n_taps, [&](int64_t c, int64_t tap) { return weight->data()[c * n_taps + tap]; });
  const auto biases = by_lane(blocks, 1, [&](int64_t c, int64_t) { return bias ? bias->data()[c] : 0.0f; });
  add_by_unit(tape, "causal_conv", {x.place()}, out, store, blocks.size(),
               [=, from = x.place(), to = out.place()](const Worker& w, int64_t block, const Span& span, const States& states) {
                 const int64_t first = blocks.first_channel(block), at = span.first_row * width + first;
                 level().vector->causal_conv({.n_rows = span.n_rows,
                                              .n_lanes = blocks.n_lanes(block),
                                              .n_taps = n_taps,
                                              .silu = silu,
                                              .x = from.in<float>(w.arena) + at,
                                              .out = to.in<float>(w.arena) + at,
                                              .stride = width,
                                              .factors = factors->data() + block * n_taps * kBlock,
                                              .bias = biases->data() + block * kBlock,
                                              .state = states.before + first * (n_taps - 1),
                                              .next = states.after + first * (n_taps - 1)});
               });
  return out;
}

Activation selective_scan(Tape& tape, const Activation& x, const Activation& dt, const Activation& b,
                          const Activation& c, VectorRef a_log, VectorRef d, VectorRef dt_bias,
                          std::shared_ptr<RecurrentStore> store, int64_t n_heads, int64_t n_groups) {
  Activation out = new_activation(tape, x.rows, x.width);
  const int64_t width = x.width, head_size = width / n_heads, state_size = b.width / n_groups;
  const int64_t n_decays = a_log->size / n_heads;  // of a head: one, or one for each value of a channel's state
  const Blocks blocks(width, n_groups);
  const auto of_head = [=](const VectorRef& values, int64_t channel) { return values->data()[channel / head_size]; };
  const auto decays = by_lane(blocks, n_decays, [&](int64_t channel, int64_t n) {
    return -std::exp(a_log->data()[channel / head_size * n_decays + n]) * kLog2e;
  });
  const auto skips = by_lane(blocks, 1, [&](int64_t channel, int64_t) { return of_head(d, channel); });
  const auto biases = by_lane(blocks, 1, [&](int64_t channel, int64_t) { return dt_bias ? of_head(dt_bias, channel) : 0.0f; });
  add_by_unit(tape, "selective_scan", {x.place(), dt.place(), b.place(), c.place()}, out, store, blocks.size(),
               [=, from = x.place(), to = out.place(), steps = dt.place(), in = b.place(), read = c.place()](
                   const Worker& w, int64_t block, const Span& span, const States& states) {
                 const int64_t first = blocks.first_channel(block), at = span.first_row * width + first;
                 const int64_t row_b = span.first_row * n_groups * state_size + blocks.group(block) * state_size;
                 level().vector->selective_scan({.n_rows = span.n_rows,
                                                 .n_lanes = blocks.n_lanes(block),
                                                 .state_size = state_size,
                                                 .n_decays = n_decays,
                                                 .first_channel = first,
                                                 .head_size = head_size,
                                                 .x = from.in<float>(w.arena) + at,
                                                 .out = to.in<float>(w.arena) + at,
                                                 .stride = width,
                                                 .steps = steps.in<float>(w.arena) + span.first_row * n_heads,
                                                 .steps_stride = n_heads,
                                                 .b = in.in<float>(w.arena) + row_b,
                                                 .c = read.in<float>(w.arena) + row_b,
                                                 .b_stride = n_groups * state_size,
                                                 .decays = decays->data() + block * n_decays * kBlock,
                                                 .skips = skips->data() + block * kBlock,
                                                 .step_biases = biases->data() + block * kBlock,
                                                 .state = states.before + first * state_size,
                                                 .next = states.after + first * state_size});
               });
  return out;
}

}  // namespace nearlight
