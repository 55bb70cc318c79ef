// The gated delta rule as a command, cut by heads and by 32 of a head's channels, whose states lie together. See record.h.
#include <algorithm>
#include <cmath>

#include "../level.h"
#include "states.h"

namespace nearlight {
namespace {

constexpr float kLog2e = 1.44269504f;

}  // namespace

Activation gated_delta_rule(Tape& tape, const DeltaInputs& in, VectorRef a_log, VectorRef dt_bias,
                            std::shared_ptr<RecurrentStore> store, const DeltaHeads& heads) {
  Activation out = new_activation(tape, in.v.rows, in.v.width);
  const int64_t n_heads = a_log->size, n_keys = heads.n_keys, width = in.v.width, key_width = in.k.width;
  const int64_t head_dim = width / n_heads, key_dim = key_width / n_keys;
  const int64_t per_head = (head_dim + kDeltaChannels - 1) / kDeltaChannels;
  const Place from[] = {in.q.place(), in.k.place(), in.v.place(), in.a.place(), in.b.place()};
  add_by_unit(tape, "gated_delta_rule", {std::begin(from), std::end(from)}, out, store, n_heads * per_head,
              [=, q = from[0], k = from[1], v = from[2], a = from[3], b = from[4], to = out.place()](
                  const Worker& w, int64_t unit, const Span& span, const States& states) {
                const int64_t head = unit / per_head, first = unit % per_head * kDeltaChannels;
                const int64_t key_head = heads.tiled ? head % n_keys : head / (n_heads / n_keys);
                const int64_t channel = head * head_dim + first, row = span.first_row;
                const int64_t key_at = row * key_width + key_head * key_dim, gate_at = row * n_heads + head;
                level().vector->gated_delta_rule({.n_rows = span.n_rows,
                                                  .n_lanes = std::min(kDeltaChannels, head_dim - first),
                                                  .key_dim = key_dim,
                                                  .q = q.in<float>(w.arena) + key_at,
                                                  .k = k.in<float>(w.arena) + key_at,
                                                  .key_stride = key_width,
                                                  .v = v.in<float>(w.arena) + row * width + channel,
                                                  .out = to.in<float>(w.arena) + row * width + channel,
                                                  .stride = width,
                                                  .a = a.in<float>(w.arena) + gate_at,
                                                  .b = b.in<float>(w.arena) + gate_at,
                                                  .gate_stride = n_heads,
                                                  .rate = -std::exp(a_log->data()[head]) * kLog2e,
                                                  .bias = dt_bias->data()[head],
                                                  .scale = heads.scale,
                                                  .state = states.before + channel * key_dim,
                                                  .next = states.after + channel * key_dim});
              });
  return out;
}

}  // namespace nearlight
