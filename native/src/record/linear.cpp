// Matrices: packing, lookup, products. See record.h.
#include <algorithm>
#include <atomic>
#include <stdexcept>

#include "../level.h"
#include "record.h"

namespace nearlight {
namespace {

// Tiles a thread takes at a time: enough pieces that a thread which is held up leaves its rest to the others, yet so
// long that each is one stretch of memory to stream. Even, as the kernel for many rows works on pairs of tiles.
constexpr int64_t kPiecesPerThread = 8;

int64_t tiles_per_piece(int64_t n_tiles, int n_threads) {
  const int64_t even = n_tiles / (kPiecesPerThread * n_threads) / 2 * 2;
  return std::max<int64_t>(even, 2);
}

// x in the form this matrix is multiplied with; the command is recorded at the first asking.
Place prepare(Tape& tape, Activation& x, Form form) {
  auto& slot = x.prepared[form];
  if (slot) return slot->place();
  slot = std::make_shared<Slot>(tape.slots(), prepared_bytes(form, x.rows, x.width));
  const Place from = x.place(), to = slot->place();
  // One row is not worth dividing: done whole by the thread that made it, it needs no barrier before.
  const bool whole = x.rows == 1;
  tape.add({"prepare",
            {reads(from), writes(to)},
            whole ? x.rows : 0,
            [from, to, form, rows = x.rows, width = x.width, whole](const Worker& w) {
              if (whole && w.thread != 0) return;
              level().matmul->prepare(form, from.in<float>(w.arena), width, rows, width, to.in<void>(w.arena),
                                      whole ? 0 : w.thread, whole ? 1 : w.n_threads);
            }});
  return to;
}

}  // namespace

int64_t pack_matrix(Runtime& runtime, PackedMatrix& packed, const uint8_t* rows, size_t row_stride) {
  const std::lock_guard lock(runtime.mutex);
  packed.memory = allocate(packed.matrix.n_bytes());
  packed.matrix.data = reinterpret_cast<uint8_t*>(packed.memory.get());
  std::atomic<int64_t> first_bad{-1};
  runtime.pool.run([&](int thread) {
    const int64_t bad = pack(packed.matrix, rows, row_stride, thread, runtime.pool.n_threads());
    int64_t known = first_bad.load();
    while (bad >= 0 && (known < 0 || bad < known) && !first_bad.compare_exchange_weak(known, bad)) {
    }
  });
  return first_bad.load();
}

Activation embed(Tape& tape, MatrixRef table, Input ids) {
  tape.add_check([table, ids](const Step& step) {
    for (const int32_t id : step.*ids.field) {
      if (id < 0 || id >= table->matrix.n_out) {
        throw std::invalid_argument(table->name + ": expected ids 0 … " + std::to_string(table->matrix.n_out - 1) +
                                    ", found " + std::to_string(id));
      }
    }
  });
  Activation out = new_activation(tape, ids.size, table->matrix.n_in);
  const Step& step = tape.step();
  const Place to = out.place();
  tape.add({table->name, {writes(to)}, out.rows, [table, &step, ids, to](const Worker& w) {
              const auto& numbers = step.*ids.field;
              const Share mine = w.share_of(ids.size);
              for (int64_t r = mine.begin; r < mine.end; r++) {
                dequantize_row(table->matrix, numbers[static_cast<size_t>(r)],
                               to.in<float>(w.arena) + r * table->matrix.n_in);
              }
            }});
  return out;
}

Activation linear(Tape& tape, Activation& x, MatrixRef weight, VectorRef bias) {
  const Matrix& matrix = weight->matrix;
  Activation out = new_activation(tape, x.rows, matrix.n_out);
  if (x.rows == 0) return out;
  const Place from = prepare(tape, x, level().matmul->form(matrix.format)), to = out.place();
  const int64_t piece = tiles_per_piece(matrix.n_tiles, tape.runtime()->pool.n_threads());
  tape.add({weight->name, {reads(from), writes(to)}, 0, [weight, bias, from, to, rows = x.rows, piece](const Worker& w) {
              const Matrix& m = weight->matrix;
              for (int64_t begin = w.take_next() * piece; begin < m.n_tiles; begin = w.take_next() * piece) {
                level().matmul->multiply(m, from.in<void>(w.arena), rows, bias ? bias->data() : nullptr,
                                         to.in<float>(w.arena), m.n_out, begin, std::min(begin + piece, m.n_tiles));
              }
            }});
  return out;
}

}  // namespace nearlight
