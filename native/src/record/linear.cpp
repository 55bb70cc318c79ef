// Matrices: lookup, products. See record.h.
#include <algorithm>
#include <stdexcept>
#include <vector>

#include "../level.h"
#include "../matmul/layout.h"
#include "record.h"

namespace nearlight {
namespace {

// A piece of a product is a range of groups of four tiles (kernels work on pairs, or on four interleaved), long enough
// to be worth taking: this many bytes of weights, for every row. A thread's pieces lie one after the other (pool.h), so
// the smaller the better otherwise: memory goes on streaming, and nobody waits long for the last.
constexpr int64_t kLeastBytesPerPiece = 49152, kMostPiecesPerThread = 64;
constexpr int64_t kPieceTiles = 4;

// Of a single row, products are cut into as many parts as what follows them, if there are so many for each thread and
// if parts are not larger than this: who is through waits for the rest of another's part.
constexpr int64_t kLeastPartsPerThread = 4, kMostBytesPerPart = int64_t{1} << 20;

int64_t n_groups_of(const Matrix& matrix) { return (matrix.n_tiles + kPieceTiles - 1) / kPieceTiles; }

int64_t n_pieces_of(const Tape& tape, const Matrix& matrix, RowCount rows) {
  const int64_t n_groups = n_groups_of(matrix);
  if (tape.pieces(n_groups) == 1) return 1;
  const int64_t worth = static_cast<int64_t>(matrix.n_bytes()) * rows.most / kLeastBytesPerPiece;
  const int64_t most = std::min(n_groups, kMostPiecesPerThread * tape.runtime()->pool.n_threads());
  return std::clamp<int64_t>(worth, 1, most);
}

// Parts of a single row that a product makes, a piece each; 1 where it is cut otherwise.
int64_t n_parts_of(const Tape& tape, const Matrix& matrix, RowCount rows) {
  if (rows.most != 1 || matrix.n_out % (kPieceTiles * kLanes) != 0) return 1;
  const int64_t n_parts = tape.row_parts(n_groups_of(matrix));
  const bool enough = n_parts >= kLeastPartsPerThread * tape.runtime()->pool.n_threads();
  return enough && static_cast<int64_t>(matrix.n_bytes()) <= kMostBytesPerPart * n_parts ? n_parts : 1;
}

// Add a command that quantizes the parts of a single row, whose blocks of inputs lie one after the other.
void add_by_part(Tape& tape, const Activation& x, Form form, Place to) {
  const int64_t n_parts = x.n_parts, width = x.width / n_parts;
  tape.add({"quantize", {reads(x.place()), writes(to)}, {n_parts}, n_parts,
            [=, from = x.place()](const Worker& w, int64_t part) {
              level().matmul->quantize(form, from.in<float>(w.arena) + part * width, width, 1, width,
                                       to.in<std::byte>(w.arena) + quantized_bytes(form, 1, part * width), 0, 1);
            }});
}

// Every id must name a row of the table, or one of those given.
void check_ids(const PackedMatrix& table, const std::vector<int32_t>& ids, bool takes_given, const Embeddings& given) {
  const int64_t n_given = takes_given ? given.n : 0;
  if (n_given > 0 && given.width != table.matrix.n_in) {
    throw std::invalid_argument(table.name + ": expected embeddings of width " + std::to_string(table.matrix.n_in) +
                                ", found " + std::to_string(given.width));
  }
  for (const int32_t id : ids) {
    if (id >= -n_given && id < table.matrix.n_out) continue;
    const std::string or_given = n_given > 0 ? ", or -" + std::to_string(n_given) + " … -1 of the embeddings" : "";
    throw std::invalid_argument(table.name + ": expected ids 0 … " + std::to_string(table.matrix.n_out - 1) + or_given +
                                ", found " + std::to_string(id));
  }
}

}  // namespace

Place quantize(Tape& tape, Activation& x, Form form) {
  auto& slot = x.quantized[form];
  if (slot) return slot->place();
  slot = std::make_shared<Slot>(tape.slots(), quantized_bytes(form, x.rows.most, x.width));
  const Place from = x.place(), to = slot->place();
  if (x.n_parts > 1 && x.width % (kBlock * x.n_parts) == 0) {
    add_by_part(tape, x, form, to);
    return to;
  }
  const int64_t n_pieces = tape.row_pieces(x.rows);
  const Step& step = tape.step();
  tape.add({"quantize",
            {reads(from), {to, true, nullptr, true}},
            x.rows,
            n_pieces,
            [from, to, form, rows = x.rows, width = x.width, n_pieces, &step](const Worker& w, int64_t piece) {
              const int64_t n_rows = rows.in(step);
              const Share mine = share(n_rows, piece, n_pieces);
              level().matmul->quantize(form, from.in<float>(w.arena), width, n_rows, width, to.in<void>(w.arena),
                                       mine.begin, mine.end);
            }});
  return to;
}

Activation embed(Tape& tape, MatrixRef table, Input ids, bool takes_given, float scale) {
  tape.before_run([=](const Step& step) { check_ids(*table, step.*ids.field, takes_given, step.embeddings); });
  Activation out = new_activation(tape, ids.rows, table->matrix.n_in);
  const Step& step = tape.step();
  const Place to = out.place();
  const int64_t n_pieces = tape.row_pieces(out.rows), width = out.width;
  tape.add({table->name, {writes(to)}, out.rows, n_pieces, [=, &step](const Worker& w, int64_t piece) {
              const Share mine = share(ids.rows.in(step), piece, n_pieces);
              for (int64_t r = mine.begin; r < mine.end; r++) {
                const int32_t id = (step.*ids.field)[static_cast<size_t>(r)];
                float* const row = to.in<float>(w.arena) + r * width;
                if (id < 0) {
                  std::copy_n(step.embeddings.data + (-1 - id) * width, width, row);
                  continue;
                }
                dequantize_row(table->matrix, id, row);
                if (scale != 1.0f) std::transform(row, row + width, row, [scale](float value) { return value * scale; });
              }
            }});
  return out;
}

Activation look_up(Tape& tape, const StoredTable& table, Input ids, float scale) {
  Activation out = new_activation(tape, ids.rows, table.width);
  const Step& step = tape.step();
  const int64_t n_pieces = tape.row_pieces(out.rows);
  tape.add({table.name, {writes(out.place())}, out.rows, n_pieces,
            [=, &step, to = out.place()](const Worker& w, int64_t piece) {
              const Share mine = share(ids.rows.in(step), piece, n_pieces);
              for (int64_t r = mine.begin; r < mine.end; r++) {
                const int32_t id = (step.*ids.field)[static_cast<size_t>(r)];
                const int64_t stored = id < 0 || id >= table.n_rows ? 0 : id;
                float* const row = to.in<float>(w.arena) + r * table.width;
                dequantize_stored_row(table.format, table.data + stored * table.stride, table.width, row);
                std::transform(row, row + table.width, row, [scale](float value) { return value * scale; });
              }
            }});
  return out;
}

Activation linear(Tape& tape, Activation& x, MatrixRef weight, VectorRef bias) {
  const Matrix& matrix = weight->matrix;
  Activation out = new_activation(tape, x.rows, matrix.n_out);
  if (x.rows.most == 0) return out;
  const Place from = quantize(tape, x, level().matmul->form(matrix.format));
  const auto to = std::make_shared<Target>(out.place());
  out.n_parts = n_parts_of(tape, matrix, x.rows);
  const int64_t n_pieces = out.n_parts > 1 ? out.n_parts : n_pieces_of(tape, matrix, x.rows);
  const Step& step = tape.step();
  tape.add({weight->name,
            {{from, false, nullptr, true}, writes(to->place)},
            out.n_parts > 1 ? RowCount{n_pieces} : RowCount{},
            n_pieces,
            [weight, bias, from, to, rows = x.rows, n_pieces, &step](const Worker& w, int64_t piece) {
              const Matrix& m = weight->matrix;
              const Share groups = share(n_groups_of(m), piece, n_pieces);
              level().matmul->multiply(m, from.in<void>(w.arena), rows.in(step), bias ? bias->data() : nullptr,
                                       to->in(w.arena), m.n_out, kPieceTiles * groups.begin,
                                       std::min(kPieceTiles * groups.end, m.n_tiles));
            },
            {reinterpret_cast<const std::byte*>(matrix.codes(0)),
             static_cast<size_t>(matrix.n_tiles) * matrix.tile_codes},
            to});
  return out;
}

}  // namespace nearlight
