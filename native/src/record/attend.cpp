// Attention: keep the rows' keys and values, then attend. See record.h.
//
// Work is divided into tiles (vector/kernels.h): some rows of one sequence by the query heads of one key head. Tiles
// of later rows see more tokens, so they come first, and what is left for the end is short.
#include <algorithm>
#include <stdexcept>

#include "../level.h"
#include "record.h"

namespace nearlight {
namespace {

// Queries of a tile, where there are as many: their sums and scores stay in the first or second cache.
constexpr int64_t kUsualQueries = 32;

struct Shape {
  int64_t n_heads, head_dim;   // of the queries
  int64_t heads_per_tile;      // query heads: those of a key head, or fewer if they are too many
  int64_t tiles_per_kv_head;
  int64_t rows_per_tile;

  Shape(int64_t width, int64_t dim, int64_t n_kv_heads) : n_heads(width / dim), head_dim(dim) {
    const int64_t group = n_heads / n_kv_heads;
    tiles_per_kv_head = (group + kMaxQueries - 1) / kMaxQueries;
    heads_per_tile = (group + tiles_per_kv_head - 1) / tiles_per_kv_head;
    rows_per_tile = std::max<int64_t>(1, kUsualQueries / heads_per_tile);
  }
};

// An attention command: what its tiles have in common, and how they are counted out.
struct Attention {
  Shape shape;
  std::shared_ptr<KVStore> store;
  Place q, out, scratch;
  float scale;

  int64_t n_row_tiles(const Span& span) const {
    return (span.n_rows + shape.rows_per_tile - 1) / shape.rows_per_tile;
  }

  // Query heads of a tile: part `part` of those of a key head.
  Share heads(int64_t kv_head, int64_t part) const {
    const int64_t group = shape.n_heads / store->layout().n_kv_heads;
    return {kv_head * group + part * shape.heads_per_tile,
            kv_head * group + std::min((part + 1) * shape.heads_per_tile, group)};
  }

  void run_tile(const Step& step, const Span& span, int64_t row_tile, int64_t head_tile, const Worker& w) const {
    const int64_t kv_head = head_tile / shape.tiles_per_kv_head;
    const Share mine = heads(kv_head, head_tile % shape.tiles_per_kv_head);
    const int64_t begin = row_tile * shape.rows_per_tile;
    const int64_t first_row = span.first_row + begin, width = shape.n_heads * shape.head_dim;
    const int64_t at = first_row * width + mine.begin * shape.head_dim;
    const int64_t room = attend_scratch_floats(store->layout(), shape.rows_per_tile * shape.heads_per_tile);
    if (mine.size() <= 0) return;
    level().vector->attend({store->layout(), store->segments(span.sequence), kv_head, mine.size(),
                            std::min(shape.rows_per_tile, span.n_rows - begin), step.positions.data() + first_row,
                            q.in<float>(w.arena) + at, out.in<float>(w.arena) + at, width, scale,
                            scratch.in<float>(w.arena) + w.thread * room});
  }

  int64_t n_head_tiles() const { return store->layout().n_kv_heads * shape.tiles_per_kv_head; }

  // Piece `piece` of n_pieces: a range of the tiles of all spans, counted one span after the other.
  void run(const Step& step, int64_t piece, int64_t n_pieces, const Worker& w) const {
    int64_t n_tiles = 0, before = 0;  // `before`: tiles of the spans passed
    for (const Span& span : step.spans) n_tiles += n_row_tiles(span) * n_head_tiles();
    const Share mine = share(n_tiles, piece, n_pieces);
    for (const Span& span : step.spans) {
      const int64_t n_row_tiles_here = n_row_tiles(span), here = n_row_tiles_here * n_head_tiles();
      for (int64_t tile = std::max(mine.begin - before, int64_t{0}); tile < std::min(mine.end - before, here); tile++) {
        run_tile(step, span, n_row_tiles_here - 1 - tile / n_head_tiles(), tile % n_head_tiles(), w);
      }
      before += here;
    }
  }
};

// Every row must have room in the store.
void check_room(const KVStore& store, const Step& step) {
  for (const Span& span : step.spans) {
    const int64_t last = step.positions[static_cast<size_t>(span.first_row + span.n_rows - 1)];
    if (last >= store.room(span.sequence)) {
      throw std::invalid_argument("sequence " + std::to_string(span.sequence) + ": position " + std::to_string(last) +
                                  " is beyond the reserved room of " + std::to_string(store.room(span.sequence)));
    }
  }
}

void record_keep(Tape& tape, const Activation& k, const Activation& v, const std::shared_ptr<KVStore>& store) {
  const Step& step = tape.step();
  const Place keys = k.place(), values = v.place();
  const int64_t n_pieces = tape.row_pieces(k.rows);
  tape.add({"keep",
            {reads(keys), reads(values), {Place{0, 1}, true, store.get()}},
            k.rows,
            n_pieces,
            [=, &step, rows = k.rows, width = k.width](const Worker& w, int64_t piece) {
              const Share mine = share(rows, piece, n_pieces);
              for (int64_t r = mine.begin; r < mine.end; r++) {
                const auto i = static_cast<size_t>(r);
                level().vector->keep(store->layout(), store->segments(step.sequences[i]), step.positions[i],
                                     keys.in<float>(w.arena) + r * width, values.in<float>(w.arena) + r * width);
              }
            }});
}

}  // namespace

Activation attend(Tape& tape, const Activation& q, const Activation& k, const Activation& v,
                  std::shared_ptr<KVStore> store, int64_t head_dim, float scale) {
  tape.add_check([store](const Step& step) { check_room(*store, step); });
  record_keep(tape, k, v, store);

  Activation out = new_activation(tape, q.rows, q.width);
  const Shape shape(q.width, head_dim, store->layout().n_kv_heads);
  const int64_t floats = attend_scratch_floats(store->layout(), shape.rows_per_tile * shape.heads_per_tile);
  const auto n_threads = static_cast<size_t>(tape.runtime()->pool.n_threads());
  const Slot scratch(tape.slots(), n_threads * static_cast<size_t>(floats) * sizeof(float));
  const Attention attention{shape, store, q.place(), out.place(), scratch.place(), scale};
  const Step& step = tape.step();
  const int64_t n_pieces = tape.pieces(q.rows * attention.n_head_tiles());  // no more than tiles, if every row is one
  tape.add({"attend",
            {reads(q.place()), writes(out.place()), writes(scratch.place()), {Place{0, 1}, false, store.get()}},
            0,
            n_pieces,
            [attention, &step, n_pieces](const Worker& w, int64_t piece) { attention.run(step, piece, n_pieces, w); }});
  return out;
}

// Keys and values go through a store of the tape's own, in full precision, that makes its own room.
Activation attend_whole(Tape& tape, const Activation& q, const Activation& k, const Activation& v, int64_t length,
                        int64_t head_dim, float scale) {
  auto store = std::make_shared<KVStore>(tape.runtime(), k.width / head_dim, head_dim, KVFormat::F32);
  tape.add_check([store, length](const Step& step) {
    for (const Span& span : step.spans) {
      const int64_t last = step.positions[static_cast<size_t>(span.first_row + span.n_rows - 1)];
      if (span.n_rows != length || last != length - 1) {
        throw std::invalid_argument("sequence " + std::to_string(span.sequence) + ": expected positions 0 … " +
                                    std::to_string(length - 1) + ", found " + std::to_string(span.n_rows) +
                                    " rows up to position " + std::to_string(last));
      }
      store->reserve(span.sequence, length);
    }
  });
  return attend(tape, q, k, v, store, head_dim, scale);
}

}  // namespace nearlight
