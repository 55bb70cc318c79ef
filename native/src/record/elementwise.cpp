// Operations on rows and on single values: norms, rotation, activation functions, picking rows. See record.h.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "../level.h"
#include "heads.h"
#include "record.h"

namespace nearlight {
namespace {

// Values are divided among threads by the cache line, when they do not follow the rows.
constexpr int64_t kLineFloats = 16;

// Fewer values than these are computed sooner than two threads have met.
constexpr int64_t kFewSums = 16384, kFewExponentials = 4096;

std::vector<Touch> touches(const std::vector<Place>& from, const Activation& out) {
  std::vector<Touch> all{writes(out.place())};
  for (const Place& place : from) all.push_back(reads(place));
  return all;
}

// Add a command that computes `out` row by row. compute(arena, first row, number of rows)
template <class F>
void add_by_row(Tape& tape, std::string name, std::vector<Place> from, const Activation& out, F compute) {
  const RowCount rows = out.rows;
  const int64_t n_pieces = tape.row_pieces(rows);
  const Step& step = tape.step();
  tape.add({std::move(name), touches(from, out), rows, n_pieces, [=, &step](const Worker& w, int64_t piece) {
              const Share mine = share(rows.in(step), piece, n_pieces);
              if (mine.size() > 0) compute(w.arena, mine.begin, mine.size());
            }});
}

// Add a command that computes `out` head by head, of which a row has n_heads: by rows, or by heads if there is but one.
// `shared` is what it touches besides. compute(arena, rows, heads)
template <class F>
void add_by_head(Tape& tape, std::string name, const Place& from, const Activation& out, std::vector<Touch> shared,
                 int64_t n_heads, F compute) {
  const HeadCut cut(tape, out.rows, n_heads);
  std::vector<Touch> all = touches({from}, out);
  all.insert(all.end(), shared.begin(), shared.end());
  const Step& step = tape.step();
  tape.add({std::move(name), std::move(all), cut.row_wise(), cut.n_pieces, [=, &step](const Worker& w, int64_t piece) {
              const Share rows = cut.rows(step, piece);
              if (rows.size() > 0) compute(w.arena, rows, cut.heads(piece));
            }});
}

// Add a command that computes `out` from `x`, and perhaps `y`, value by value: of a single row in the parts in which x
// was made; by rows where there are enough of them, or so few values that dividing a row is not worth it (then a
// row-wise command before or after shares the stage); else by cache lines. compute(arena, first value, number of values)
template <class F>
void add_by_value(Tape& tape, std::string name, const Activation& x, const Activation* y, Activation& out, int64_t few,
                  F compute) {
  std::vector<Place> from{x.place()};
  if (y) from.push_back(y->place());
  if (x.n_parts > 1 && out.width % (kLineFloats * x.n_parts) == 0) {
    const int64_t n_parts = out.n_parts = x.n_parts;
    const int64_t width = out.width;
    tape.add({std::move(name), touches(from, out), {n_parts}, n_parts, [=](const Worker& w, int64_t part) {
                const Share mine = share(width, part, n_parts);
                compute(w.arena, mine.begin, mine.size());
              }});
    return;
  }
  const RowCount rows = out.rows;
  const int64_t most = rows.most * out.width, width = out.width;
  if (rows.most >= tape.runtime()->pool.n_threads() || most <= few) {
    add_by_row(tape, std::move(name), std::move(from), out, [=](std::byte* arena, int64_t row, int64_t n_rows) {
      compute(arena, row * width, n_rows * width);
    });
    return;
  }
  const int64_t n_pieces = tape.pieces(2 * most / few);
  const Step& step = tape.step();
  tape.add({std::move(name), touches(from, out), {}, n_pieces, [=, &step](const Worker& w, int64_t piece) {
              const int64_t n = rows.in(step) * width, n_lines = (n + kLineFloats - 1) / kLineFloats;
              const Share lines = share(n_lines, piece, n_pieces);
              const int64_t begin = lines.begin * kLineFloats, end = std::min(lines.end * kLineFloats, n);
              if (begin < end) compute(w.arena, begin, end - begin);
            }});
}

// A new activation of x's shape, computed value by value: function(x, out, n).
template <class F>
Activation by_value(Tape& tape, const char* name, const Activation& x, int64_t few, F function) {
  Activation out = new_activation(tape, x.rows, x.width);
  add_by_value(tape, name, x, nullptr, out, few,
               [=, from = x.place(), to = out.place()](std::byte* arena, int64_t i, int64_t n) {
                 function(from.in<float>(arena) + i, to.in<float>(arena) + i, n);
               });
  return out;
}

// Of two: function(x, y, out, n).
template <class F>
Activation by_value(Tape& tape, const char* name, const Activation& x, const Activation& y, int64_t few, F function) {
  Activation out = new_activation(tape, x.rows, x.width);
  add_by_value(tape, name, x, &y, out, few,
               [=, a = x.place(), b = y.place(), to = out.place()](std::byte* arena, int64_t i, int64_t n) {
                 function(a.in<float>(arena) + i, b.in<float>(arena) + i, to.in<float>(arena) + i, n);
               });
  return out;
}

}  // namespace

Activation new_activation(Tape& tape, RowCount rows, int64_t width) {
  const auto n_bytes = static_cast<size_t>(rows.most * width) * sizeof(float);
  return {rows, width, std::make_shared<Slot>(tape.slots(), n_bytes)};
}

Activation rms_norm(Tape& tape, const Activation& x, VectorRef weight, int64_t n, float eps) {
  Activation out = new_activation(tape, x.rows, x.width);
  const int64_t width = x.width;
  add_by_head(tape, weight ? weight->name : "rms_norm", x.place(), out, {}, width / n,
              [=, from = x.place(), to = out.place()](std::byte* arena, Share rows, Share heads) {
                const int64_t at = rows.begin * width + heads.begin * n;
                level().vector->rms_norm(from.in<float>(arena) + at, weight ? weight->data() : nullptr,
                                         to.in<float>(arena) + at, rows.size() * heads.size(), n, eps);
              });
  return out;
}

// An RMS norm whose scales undo the mean: x / sqrt(mean of squares + eps / n) / sqrt(n).
Activation l2_norm(Tape& tape, const Activation& x, int64_t head_dim, float eps) {
  Activation out = new_activation(tape, x.rows, x.width);
  const int64_t width = x.width, n = head_dim;
  const auto scales = std::make_shared<const std::vector<float>>(n, 1.0f / std::sqrt(static_cast<float>(n)));
  add_by_head(tape, "l2_norm", x.place(), out, {}, width / n,
              [=, from = x.place(), to = out.place()](std::byte* arena, Share rows, Share heads) {
                const int64_t at = rows.begin * width + heads.begin * n;
                level().vector->rms_norm(from.in<float>(arena) + at, scales->data(), to.in<float>(arena) + at,
                                         rows.size() * heads.size(), n, eps / static_cast<float>(n));
              });
  return out;
}

Activation layer_norm(Tape& tape, const Activation& x, VectorRef weight, VectorRef bias, float eps) {
  Activation out = new_activation(tape, x.rows, x.width);
  const int64_t width = x.width;
  add_by_row(tape, weight->name, {x.place()}, out,
             [=, from = x.place(), to = out.place()](std::byte* arena, int64_t row, int64_t n_rows) {
               level().vector->layer_norm(from.in<float>(arena) + row * width, weight->data(), bias->data(),
                                          to.in<float>(arena) + row * width, n_rows, width, eps);
             });
  return out;
}

Activation grouped_rms_norm(Tape& tape, const Activation& x, VectorRef weight, float eps, int64_t n_groups) {
  Activation out = new_activation(tape, x.rows, x.width);
  const int64_t width = x.width, n = width / n_groups;
  add_by_row(tape, weight->name, {x.place()}, out,
             [=, from = x.place(), to = out.place()](std::byte* arena, int64_t row, int64_t n_rows) {
               for (int64_t at = row * width; at < (row + n_rows) * width; at += n) {
                 level().vector->rms_norm(from.in<float>(arena) + at, weight->data() + at % width,
                                          to.in<float>(arena) + at, 1, n, eps);
               }
             });
  return out;
}

Activation rope_angles(Tape& tape, Input positions, int64_t half, float magnitude) {
  Activation out = new_activation(tape, positions.rows, 2 * half);
  const size_t which = tape.add_frequencies();
  tape.before_run([which, half](const Step& step) {
    const auto n = static_cast<int64_t>(step.frequencies[which].size());
    if (n != half && n != half * step.n_rows()) {
      throw std::invalid_argument("rotary frequencies: expected " + std::to_string(half) + ", or as many for each of " +
                                  std::to_string(step.n_rows()) + " rows, found " + std::to_string(n));
    }
  });
  const Step& step = tape.step();
  add_by_row(tape, "rope_angles", {}, out,
             [=, &step, to = out.place()](std::byte* arena, int64_t row, int64_t n_rows) {
               const int32_t* position = (step.*positions.field).data() + row;
               const std::vector<float>& frequencies = step.frequencies[which];
               float* angles = to.in<float>(arena) + row * 2 * half;
               if (static_cast<int64_t>(frequencies.size()) == half) {
                 level().vector->rope_angles(position, frequencies.data(), magnitude, angles, n_rows, half);
                 return;
               }
               for (int64_t r = 0; r < n_rows; r++, angles += 2 * half) {
                 level().vector->rope_angles(position + r, frequencies.data() + (row + r) * half, magnitude, angles, 1,
                                             half);
               }
             });
  return out;
}

Activation rope(Tape& tape, const Activation& x, const Activation& angles, int64_t head_dim, bool interleaved) {
  Activation out = new_activation(tape, x.rows, x.width);
  const int64_t width = x.width, half = angles.width / 2;
  Touch turned_by = reads(angles.place());
  turned_by.interleaved = x.rows.most == 1;  // every head by all of them
  add_by_head(tape, "rope", x.place(), out, {turned_by}, width / head_dim,
              [=, from = x.place(), by = angles.place(), to = out.place()](std::byte* arena, Share rows, Share heads) {
                const int64_t at = rows.begin * width + heads.begin * head_dim;
                level().vector->rope(from.in<float>(arena) + at, by.in<float>(arena) + rows.begin * 2 * half,
                                     to.in<float>(arena) + at, rows.size(), heads.size(), head_dim, half, interleaved);
              });
  return out;
}

// The product follows what x was made by.
Activation multiply(Tape& tape, const Activation& x, const Activation& y) {
  return by_value(tape, "multiply", x, y, kFewSums, level().vector->multiply);
}

Activation squared_relu(Tape& tape, const Activation& x) {
  return by_value(tape, "squared_relu", x, kFewSums, level().vector->squared_relu);
}

Activation swiglu(Tape& tape, const Activation& gate, const Activation& up) {
  return by_value(tape, "swiglu", gate, up, kFewExponentials, level().vector->swiglu);
}

Activation clamped_swiglu(Tape& tape, const Activation& gate, const Activation& up, float alpha, float limit) {
  const auto function = level().vector->clamped_swiglu;
  return by_value(tape, "swiglu", gate, up, kFewExponentials,
                  [=](const float* g, const float* u, float* y, int64_t n) { function(g, u, y, n, alpha, limit); });
}

Activation sigmoid_gate(Tape& tape, const Activation& x, const Activation& gate) {
  if (gate.width == x.width) return by_value(tape, "sigmoid_gate", x, gate, kFewExponentials, level().vector->sigmoid_gate);
  Activation out = new_activation(tape, x.rows, x.width);
  add_by_row(tape, "sigmoid_gate", {x.place(), gate.place()}, out,
             [=, width = x.width, from = x.place(), by = gate.place(), to = out.place()](std::byte* arena, int64_t row,
                                                                                       int64_t n_rows) {
               for (int64_t r = row; r < row + n_rows; r++) {
                 const float factor = 1.0f / (1.0f + std::exp(-by.in<float>(arena)[r]));
                 level().vector->scale(from.in<float>(arena) + r * width, factor, to.in<float>(arena) + r * width, width);
               }
             });
  return out;
}

Activation geglu(Tape& tape, const Activation& gate, const Activation& up, bool tanh) {
  return by_value(tape, "geglu", gate, up, kFewExponentials, tanh ? level().vector->geglu_tanh : level().vector->geglu_erf);
}

Activation gelu(Tape& tape, const Activation& x, bool tanh) {
  return by_value(tape, "gelu", x, kFewExponentials, tanh ? level().vector->gelu_tanh : level().vector->gelu_erf);
}

Activation softcap(Tape& tape, const Activation& x, float cap) {
  return by_value(tape, "softcap", x, kFewExponentials,
                  [=, function = level().vector->softcap](const float* a, float* y, int64_t n) { function(a, cap, y, n); });
}

Activation scale(Tape& tape, const Activation& x, float factor) {
  return by_value(tape, "scale", x, kFewSums,
                  [=, function = level().vector->scale](const float* a, float* y, int64_t n) { function(a, factor, y, n); });
}

Activation scale_by_position(Tape& tape, const Activation& x, Input positions, float strength, int64_t period,
                             int64_t offset) {
  Activation out = new_activation(tape, x.rows, x.width);
  const auto scaled = level().vector->scale;
  add_by_value(tape, "scale", x, nullptr, out, kFewSums,
               [=, &step = tape.step(), width = x.width, from = x.place(), to = out.place()](std::byte* arena, int64_t i,
                                                                                             int64_t n) {
                 for (const int64_t end = i + n; i < end;) {
                   const int64_t row = i / width, mine = std::min(end, (row + 1) * width) - i;
                   const int64_t position = (step.*positions.field)[static_cast<size_t>(row)];
                   const auto periods = static_cast<float>((position + offset) / period);
                   scaled(from.in<float>(arena) + i, 1 + strength * std::log1p(periods), to.in<float>(arena) + i, mine);
                   i += mine;
                 }
               });
  return out;
}

// The sum follows what y was made by.
Activation add(Tape& tape, const Activation& x, const Activation& y, float scale) {
  if (scale == 1.0f) return by_value(tape, "add", y, x, kFewSums, level().vector->add);
  const auto function = level().vector->add_scaled;
  return by_value(tape, "add", y, x, kFewSums,
                  [=](const float* b, const float* a, float* sum, int64_t n) { function(a, scale, b, sum, n); });
}

Activation columns(Tape& tape, const Activation& x, int64_t first, int64_t width) {
  Activation out = new_activation(tape, x.rows, width);
  const int64_t from_width = x.width;
  add_by_row(tape, "columns", {x.place()}, out,
             [=, from = x.place(), to = out.place()](std::byte* arena, int64_t row, int64_t n_rows) {
               for (int64_t r = row; r < row + n_rows; r++) {
                 std::copy_n(from.in<float>(arena) + r * from_width + first, width, to.in<float>(arena) + r * width);
               }
             });
  return out;
}

Activation take(Tape& tape, const Activation& x, Input indices) {
  tape.before_run([indices, from = x.rows](const Step& step) {
    const int64_t n_rows = from.in(step);
    for (const int32_t index : step.*indices.field) {
      if (index < 0 || index >= n_rows) {
        throw std::invalid_argument("logit rows: expected 0 … " + std::to_string(n_rows - 1) + ", found " +
                                    std::to_string(index));
      }
    }
  });
  Activation out = new_activation(tape, indices.rows, x.width);
  const Step& step = tape.step();
  const Place from = x.place(), to = out.place();
  // Reads any row, so it is not row-wise although it writes its own: it waits for all rows, unless there is only one.
  const RowCount row_wise = x.rows.most == 1 && indices.rows.most == 1 ? indices.rows : RowCount{};
  const int64_t n_pieces = tape.row_pieces(indices.rows), width = x.width;
  tape.add({"take", {reads(from), writes(to)}, row_wise, n_pieces, [=, &step](const Worker& w, int64_t piece) {
              const Share mine = share(indices.rows.in(step), piece, n_pieces);
              for (int64_t r = mine.begin; r < mine.end; r++) {
                const int64_t source = (step.*indices.field)[static_cast<size_t>(r)];
                std::memcpy(to.in<float>(w.arena) + r * width, from.in<float>(w.arena) + source * width,
                            static_cast<size_t>(width) * sizeof(float));
              }
            }});
  return out;
}

}  // namespace nearlight
