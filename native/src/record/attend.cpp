// Attention: keep the rows' keys and values, then attend. See record.h.
//
// Work is divided into tiles (vector/kernels.h): some rows of one sequence by the query heads of one key head. Tiles
// of later rows see more tokens, so they come first, and what is left for the end is short.
//
// With few rows, tiles would be too few, or too unlike, for the threads. Then the pieces of work are the parts of the
// tiles' tokens: each leaves what it summed in a place of its own, and whoever does the last part of a tile merges them.
#include <algorithm>
#include <atomic>
#include <optional>
#include <stdexcept>
#include <vector>

#include "../level.h"
#include "record.h"

namespace nearlight {
namespace {

// Rows of a step up to which parts are shared out.
constexpr int64_t kFewRows = 8;

struct Shape {
  int64_t n_heads, head_dim;   // of the queries
  int64_t heads_per_tile;      // query heads: those of a key head, or fewer if they are too many
  int64_t tiles_per_kv_head;
  int64_t rows_per_tile;

  Shape(int64_t width, int64_t dim, int64_t n_kv_heads, int64_t n_rows) : n_heads(width / dim), head_dim(dim) {
    const int64_t group = n_heads / n_kv_heads;
    tiles_per_kv_head = (group + kMaxQueries - 1) / kMaxQueries;
    heads_per_tile = (group + tiles_per_kv_head - 1) / tiles_per_kv_head;
    rows_per_tile = std::min(n_rows, kMaxQueries / heads_per_tile);
  }

  int64_t n_queries() const { return rows_per_tile * heads_per_tile; }
};

// An attention command: what its tiles have in common, and how they are counted out.
struct Attention {
  Shape shape;
  AttendOptions options;
  std::shared_ptr<KVStore> store;
  Place q, out, scratch, parts;
  std::shared_ptr<std::atomic<int64_t>[]> done;  // parts of each tile, where they are shared out

  int64_t n_head_tiles() const { return store->layout().n_kv_heads * shape.tiles_per_kv_head; }

  // Rows of a tile: those of `span` from `begin` on, as far as they are divided into parts alike.
  int64_t n_tile_rows(const Step& step, const Span& span, int64_t begin) const {
    int64_t n = std::min(shape.rows_per_tile, span.n_rows - begin);
    while (part_tokens(step, span, begin + n - 1) != part_tokens(step, span, begin)) n--;
    return n;
  }

  int64_t part_tokens(const Step& step, const Span& span, int64_t row) const {
    const int64_t position = step.positions[static_cast<size_t>(span.first_row + row)];
    return nearlight::part_tokens(std::min(position + 1, options.window));
  }

  AttendTile tile(const Step& step, const Span& span, int64_t begin, int64_t n_rows, int64_t head_tile,
                  const Worker& w) const {
    const KVLayout& layout = store->layout();
    const int64_t kv_head = head_tile / shape.tiles_per_kv_head, group = shape.n_heads / layout.n_kv_heads;
    const int64_t first = head_tile % shape.tiles_per_kv_head * shape.heads_per_tile;
    const int64_t head = kv_head * group + first, row = span.first_row + begin, width = shape.n_heads * shape.head_dim;
    const int64_t at = row * width + head * shape.head_dim, room = attend_scratch_floats(layout, shape.n_queries());
    return {.layout = layout,
            .segments = store->segments(span.sequence),
            .kv_head = kv_head,
            .group = std::min(shape.heads_per_tile, group - first),
            .n_rows = n_rows,
            .positions = step.positions.data() + row,
            .part_tokens = part_tokens(step, span, begin),
            .q = q.in<float>(w.arena) + at,
            .out = out.in<float>(w.arena) + at,
            .row_stride = width,
            .scale = options.scale,
            .window = options.window,
            .softcap = options.softcap,
            .sinks = options.sinks ? options.sinks->data() + head : nullptr,
            .scratch = scratch.in<float>(w.arena) + w.thread * room};
  }

  // Calls f(number, tile) for every tile of the step, later rows of a span first.
  template <typename F>
  void for_tiles(const Step& step, const Worker& w, const F& f) const {
    int64_t number = 0;
    for (const Span& span : step.spans) {
      std::vector<int64_t> begins;
      for (int64_t row = 0; row < span.n_rows; row += n_tile_rows(step, span, row)) begins.push_back(row);
      for (auto begin = begins.rbegin(); begin != begins.rend(); ++begin) {
        const int64_t n_rows = n_tile_rows(step, span, *begin);
        for (int64_t head_tile = 0; head_tile < n_head_tiles(); head_tile++) {
          f(number++, tile(step, span, *begin, n_rows, head_tile, w));
        }
      }
    }
  }

  // Piece `piece` of n_pieces: a range of the tiles.
  void run_tiles(const Step& step, int64_t piece, int64_t n_pieces, const Worker& w) const {
    int64_t n_tiles = 0;
    for_tiles(step, w, [&](int64_t, const AttendTile&) { n_tiles++; });
    const Share mine = share(n_tiles, piece, n_pieces);
    for_tiles(step, w, [&](int64_t number, const AttendTile& tile) {
      if (mine.begin <= number && number < mine.end) level().vector->attend(tile);
    });
  }

  // Piece `piece` of n_pieces: a range of the parts of all tiles.
  void run_parts(const Step& step, int64_t piece, int64_t n_pieces, const Worker& w) const {
    int64_t n_parts = 0, before = 0;  // `before`: parts of the tiles passed
    for_tiles(step, w, [&](int64_t, const AttendTile& tile) { n_parts += tile.end_part() - tile.first_part(); });
    const Share mine = share(n_parts, piece, n_pieces);
    const int64_t room = attend_part_floats(store->layout(), shape.n_queries());
    for_tiles(step, w, [&](int64_t number, const AttendTile& tile) {
      const int64_t first = tile.first_part(), n = tile.end_part() - first;
      float* parts_of_tile = parts.in<float>(w.arena) + number * kMostParts * room;
      const int64_t floats = attend_part_floats(store->layout(), tile.n_rows * tile.group);
      const int64_t begin = std::max(mine.begin - before, int64_t{0}), end = std::min(mine.end - before, n);
      before += n;
      if (begin >= end) return;
      for (int64_t i = begin; i < end; i++) level().vector->attend_part(tile, first + i, parts_of_tile + i * floats);
      if (done[number].fetch_add(end - begin, std::memory_order_acq_rel) + end - begin < n) return;
      done[number].store(0, std::memory_order_relaxed);
      level().vector->merge_parts(tile, parts_of_tile, n);
    });
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
                  std::shared_ptr<KVStore> store, int64_t head_dim, const AttendOptions& options) {
  tape.add_check([store](const Step& step) { check_room(*store, step); });
  record_keep(tape, k, v, store);

  Activation out = new_activation(tape, q.rows, q.width);
  const KVLayout& layout = store->layout();
  const Shape shape(q.width, head_dim, layout.n_kv_heads, q.rows);
  const int64_t floats = attend_scratch_floats(layout, shape.n_queries());
  const int n_threads = tape.runtime()->pool.n_threads();
  const auto bytes_of = [](int64_t n) { return static_cast<size_t>(n) * sizeof(float); };
  const Slot scratch(tape.slots(), bytes_of(n_threads * floats));
  Attention attention{shape, options, store, q.place(), out.place(), scratch.place(), {}, nullptr};
  std::vector<Touch> touches{
      reads(q.place()), writes(out.place()), writes(scratch.place()), {Place{0, 1}, false, store.get()}};

  const int64_t most_tiles = q.rows * attention.n_head_tiles();  // if every row is one
  const bool shares_parts = n_threads > 1 && q.rows <= kFewRows;
  std::optional<Slot> parts;
  if (shares_parts) {
    parts.emplace(tape.slots(), bytes_of(most_tiles * kMostParts * attend_part_floats(layout, shape.n_queries())));
    attention.parts = parts->place();
    attention.done = std::shared_ptr<std::atomic<int64_t>[]>(new std::atomic<int64_t>[static_cast<size_t>(most_tiles)]());
    touches.push_back(writes(parts->place()));
  }
  const Step& step = tape.step();
  const int64_t n_pieces = tape.pieces(shares_parts ? most_tiles * kMostParts : most_tiles);
  tape.add({"attend", std::move(touches), 0, n_pieces,
            [attention, shares_parts, &step, n_pieces](const Worker& w, int64_t piece) {
              if (shares_parts) return attention.run_parts(step, piece, n_pieces, w);
              attention.run_tiles(step, piece, n_pieces, w);
            }});
  return out;
}

// Keys and values go through a store of the tape's own, in full precision, that makes its own room.
Activation attend_whole(Tape& tape, const Activation& q, const Activation& k, const Activation& v, int64_t length,
                        int64_t head_dim, const AttendOptions& options) {
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
  return attend(tape, q, k, v, store, head_dim, options);
}

}  // namespace nearlight
