// The operations, as recorded: each adds commands to a tape and returns where its result will be.
//
// This is the only place that knows both the kernels and the threads: it decides how a command is cut into pieces (by
// rows, by tiles of output columns, by key heads) and says what it touches. Sizes have been checked by the caller.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../matmul.h"
#include "../runtime/kv_store.h"
#include "../runtime/recurrent_store.h"
#include "../runtime/tape.h"
#include "packed.h"

namespace nearlight {

// A norm's scale or a bias.
struct Vector {
  std::string name;
  int64_t size;
  Memory memory;
  const float* data() const { return reinterpret_cast<const float*>(memory.get()); }
};

using VectorRef = std::shared_ptr<const Vector>;

// A matrix as it lies in a file, of which rows are looked up and nothing is kept. `owner` keeps the file mapped.
struct StoredTable {
  std::string name;
  Format format;
  int64_t n_rows, width;
  const uint8_t* data;
  int64_t stride;  // bytes between rows
  std::shared_ptr<const void> owner;
};

// An int32 field of a step, as a forward sees it while it is recorded.
struct Input {
  std::vector<int32_t> Step::* field;
  RowCount rows;
};

// A step's embeddings, likewise.
struct GivenRows {};

// A result [rows, width] of float32, with room for the most rows there may be. Its slot is free again when the last
// holder lets go: in Python, as soon as the forward has no name for it any more, so that slots are reused without any
// analysis of lifetimes.
struct Activation {
  RowCount rows;
  int64_t width;
  std::shared_ptr<Slot> slot;
  std::map<Form, std::shared_ptr<Slot>> quantized{};  // by form: once for all matrices that read it
  std::map<std::pair<int64_t, Form>, std::shared_ptr<Slot>> gathered{};  // by routes, too: likewise for experts'
  int64_t n_parts = 1;  // in which a single row was made, a piece each: what follows value by value is cut alike

  Place place() const { return slot->place(); }
};

// Rows of the table, times `scale`; with takes_given, an id of -1 - i is the i-th of the step's embeddings.
Activation embed(Tape& tape, MatrixRef table, Input ids, bool takes_given, float scale);
Activation linear(Tape& tape, Activation& x, MatrixRef weight, VectorRef bias);
// Rows of a stored table, times `scale`; an id that is none of its rows has the first.
Activation look_up(Tape& tape, const StoredTable& table, Input ids, float scale);
// x in a form, for products: recorded at the first asking.
Place quantize(Tape& tape, Activation& x, Form form);

// How scores become choices and weights of experts; bias and expert_scale may be null.
struct Routing {
  int64_t n_chosen;
  bool normalize, sigmoid;
  float scale;
  int64_t n_groups, n_chosen_groups;
  VectorRef bias, expert_scale;
};
// The experts of a step's rows (record/experts.cpp). `number` is one that no other of the tape has.
struct Routes {
  RowCount rows, pairs;
  int64_t n_experts, n_chosen, number;
  std::shared_ptr<Slot> slot;
};
Routes route(Tape& tape, const Activation& scores, const Routing& routing);
// Each pair by its expert's matrix, of which all are alike; x has rows or pairs, biases lie one after the other.
Activation expert_linear(Tape& tape, Activation& x, const std::vector<MatrixRef>& weights, const Routes& routes,
                         VectorRef bias);
Activation weigh(Tape& tape, const Activation& y, const Routes& routes);  // each pair by its weight
Activation combine(Tape& tape, const Activation& y, const Routes& routes, bool weighted);
// Of stretches of n values; `weight`, of n values, may be null.
Activation rms_norm(Tape& tape, const Activation& x, VectorRef weight, int64_t n, float eps);
// Each head of head_dim values divided by its length, the root of the sum of its squares and eps.
Activation l2_norm(Tape& tape, const Activation& x, int64_t head_dim, float eps);
Activation layer_norm(Tape& tape, const Activation& x, VectorRef weight, VectorRef bias, float eps);
// `frequencies` of `half` pairs, the same for all rows or each row's, are given anew with every step, as
// step.frequencies[the number of earlier calls].
Activation rope_angles(Tape& tape, Input positions, int64_t half, float magnitude);
Activation rope(Tape& tape, const Activation& x, const Activation& angles, int64_t head_dim, bool interleaved);
// How scores are made and what they include; see AttendTile in vector/kernels.h. `sinks` may be null.
struct AttendOptions {
  float scale;
  Window window;
  float softcap;
  VectorRef sinks;
};
// Writes the rows' keys and values; whoever attends over the store afterwards sees them.
void append(Tape& tape, const Activation& k, const Activation& v, std::shared_ptr<KVStore> store);
Activation attend(Tape& tape, const Activation& q, std::shared_ptr<KVStore> store, const AttendOptions& options);
// Both where the rows are whole sequences of `length` tokens and nothing is kept.
Activation attend_whole(Tape& tape, const Activation& q, const Activation& k, const Activation& v, int64_t length,
                        int64_t head_dim, const AttendOptions& options);
Activation causal_conv(Tape& tape, const Activation& x, VectorRef weight, VectorRef bias,
                       std::shared_ptr<RecurrentStore> store, bool silu);
Activation selective_scan(Tape& tape, const Activation& x, const Activation& dt, const Activation& b,
                          const Activation& c, VectorRef a_log, VectorRef d, VectorRef dt_bias,
                          std::shared_ptr<RecurrentStore> store, int64_t n_heads, int64_t n_groups);
// What the rows of a gated delta rule bring: q and k by key head, v by head, a and b one value a head.
struct DeltaInputs {
  const Activation &q, &k, &v, &a, &b;
};
// Head h uses key head h / (heads / n_keys) or, where they are tiled, h % n_keys; results are scaled.
struct DeltaHeads {
  int64_t n_keys;
  bool tiled;
  float scale;
};
Activation gated_delta_rule(Tape& tape, const DeltaInputs& in, VectorRef a_log, VectorRef dt_bias,
                            std::shared_ptr<RecurrentStore> store, const DeltaHeads& heads);
Activation grouped_rms_norm(Tape& tape, const Activation& x, VectorRef weight, float eps, int64_t n_groups);
Activation multiply(Tape& tape, const Activation& x, const Activation& y);
Activation squared_relu(Tape& tape, const Activation& x);
Activation swiglu(Tape& tape, const Activation& gate, const Activation& up);
Activation clamped_swiglu(Tape& tape, const Activation& gate, const Activation& up, float alpha, float limit);
// x * logistic(gate), gate having x's width or one value a row
Activation sigmoid_gate(Tape& tape, const Activation& x, const Activation& gate);
Activation geglu(Tape& tape, const Activation& gate, const Activation& up, bool tanh);
Activation gelu(Tape& tape, const Activation& x, bool tanh);
// x + scale * y
Activation add(Tape& tape, const Activation& x, const Activation& y, float scale);
Activation scale(Tape& tape, const Activation& x, float factor);
// Row by row times 1 + strength * log(1 + (position + offset) / period), the quotient an integer.
Activation scale_by_position(Tape& tape, const Activation& x, Input positions, float strength, int64_t period,
                             int64_t offset);
Activation softcap(Tape& tape, const Activation& x, float cap);
Activation take(Tape& tape, const Activation& x, Input indices);
// The values first .. first + width - 1 of every row.
Activation columns(Tape& tape, const Activation& x, int64_t first, int64_t width);

// An activation of this tape with a slot of its own.
Activation new_activation(Tape& tape, RowCount rows, int64_t width);

}  // namespace nearlight
