// Attention: keep the rows' keys and values, then attend. See record.h.
//
// Work is divided into tiles (vector/kernels.h): some rows of one sequence by the query heads of one key head. Tiles
// of later rows see more tokens, so they come first, and what is left for the end is short.
//
// With few rows, tiles would be too few, or too unlike, for the threads. Then the pieces of work are the parts of the
// tiles' tokens: each leaves what it summed in a place of its own, and whoever does the last part of a tile merges
// them.
#include <algorithm>
#include <atomic>
#include <optional>
#include <stdexcept>
#include <vector>

#include "../level.h"
#include "heads.h"
#include "record.h"

namespace nearlight {
namespace {

// Rows of a step up to which parts are shared out.
constexpr int64_t kFewRows = 8;

// With at least as many pieces for each thread, the heads of a single row are enough to share out.
constexpr int64_t kHeadPiecesPerThread = 2;

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

  // Where a tile lies.
  struct Position {
    const Span& span;
    int64_t begin, n_rows;  // its rows, counted from the span's first
    int64_t head_tile;

    int64_t first_row() const { return span.first_row + begin; }
  };

  // Calls f(position) for every tile of the step, later rows of a span first.
  template <typename F>
  void for_tiles(const Step& step, const F& f) const {
    for (const Span& span : step.spans) {
      std::vector<int64_t> ends;
      for (int64_t row = 0; row < span.n_rows; ends.push_back(row)) row += n_tile_rows(step, span, row);
      for (size_t i = ends.size(); i-- > 0;) {
        const int64_t begin = i > 0 ? ends[i - 1] : 0;
        for (int64_t tile = 0; tile < n_head_tiles(); tile++) f(Position{span, begin, ends[i] - begin, tile});
      }
    }
  }

  // Rows of a tile: those of `span` from `begin` on, as far as they are divided into parts alike and lie so near each
  // other that together they see kMostParts at most.
  int64_t n_tile_rows(const Step& step, const Span& span, int64_t begin) const {
    int64_t n = std::min(shape.rows_per_tile, span.n_rows - begin);
    const int64_t first_row = span.first_row + begin;
    const int32_t* const position = step.positions.data() + first_row;
    while (position[n - 1] - position[0] >= kLeastPartTokens ||
           part_tokens(step, first_row + n - 1) != part_tokens(step, first_row)) {
      n--;
    }
    return n;
  }

  int64_t part_tokens(const Step& step, int64_t row) const {
    const int64_t n = int64_t{step.positions[static_cast<size_t>(row)]} + 1;
    return nearlight::part_tokens(std::min(n, options.window));
  }

  AttendTile tile(const Step& step, const Position& at, const Worker& w) const {
    const KVLayout& layout = store->layout();
    const int64_t kv_head = at.head_tile / shape.tiles_per_kv_head, group = shape.n_heads / layout.n_kv_heads;
    const int64_t first = at.head_tile % shape.tiles_per_kv_head * shape.heads_per_tile;
    const int64_t head = kv_head * group + first, row = at.first_row(), width = shape.n_heads * shape.head_dim;
    const int64_t offset = row * width + head * shape.head_dim;
    return {.layout = layout,
            .segments = store->segments(at.span.sequence),
            .kv_head = kv_head,
            .group = std::min(shape.heads_per_tile, group - first),
            .n_rows = at.n_rows,
            .positions = step.positions.data() + row,
            .part_tokens = part_tokens(step, row),
            .q = q.in<float>(w.arena) + offset,
            .out = out.in<float>(w.arena) + offset,
            .row_stride = width,
            .scale = options.scale,
            .window = options.window,
            .softcap = options.softcap,
            .sinks = options.sinks ? options.sinks->data() + head : nullptr,
            .scratch = scratch.in<float>(w.arena) + w.thread * attend_scratch_floats(layout, shape.n_queries())};
  }

  // Piece `piece` of n_pieces: a range of the tiles.
  void run_tiles(const Step& step, int64_t piece, int64_t n_pieces, const Worker& w) const {
    int64_t n_tiles = 0, number = 0;
    for_tiles(step, [&](const Position&) { n_tiles++; });
    const Share mine = share(n_tiles, piece, n_pieces);
    for_tiles(step, [&](const Position& at) {
      if (mine.begin <= number && number < mine.end) level().vector->attend(tile(step, at, w));
      number++;
    });
  }

  // Piece `piece` of n_pieces: a range of the parts of all tiles.
  void run_parts(const Step& step, int64_t piece, int64_t n_pieces, const Worker& w) const {
    int64_t n_parts = 0, before = 0, number = 0;  // `before`: parts of the tiles passed
    for_tiles(step, [&](const Position& at) {
      const AttendTile whole = tile(step, at, w);
      n_parts += whole.end_part() - whole.first_part();
    });
    const Share mine = share(n_parts, piece, n_pieces);
    for_tiles(step, [&](const Position& at) {
      const AttendTile whole = tile(step, at, w);
      const int64_t first = whole.first_part(), n = whole.end_part() - first;
      const int64_t begin = std::max(mine.begin - before, int64_t{0}), end = std::min(mine.end - before, n);
      std::atomic<int64_t>& n_done = done[number++];
      before += n;
      if (begin >= end) return;
      // Every query has room for kMostParts; those of a tile lie together.
      const int64_t place = (at.first_row() * n_head_tiles() + at.head_tile * at.n_rows) * shape.heads_per_tile;
      const int64_t floats = attend_part_floats(whole.layout, whole.n_rows * whole.group);
      float* results = parts.in<float>(w.arena) + attend_part_floats(whole.layout, place) * kMostParts;
      for (int64_t i = begin; i < end; i++) level().vector->attend_part(whole, first + i, results + i * floats);
      if (n_done.fetch_add(end - begin, std::memory_order_acq_rel) + end - begin < n) return;
      level().vector->merge_parts(whole, results, n);
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
  const HeadCut cut(tape, k.rows, store->layout().n_kv_heads);
  tape.add({"keep",
            {reads(keys), reads(values), {Place{0, 1}, true, store.get()}},
            cut.row_wise(),
            cut.n_pieces,
            [=, &step, width = k.width](const Worker& w, int64_t piece) {
              const Share rows = cut.rows(piece), heads = cut.heads(piece);
              for (int64_t r = rows.begin; r < rows.end; r++) {
                const auto i = static_cast<size_t>(r);
                level().vector->keep(store->layout(), store->segments(step.sequences[i]), step.positions[i],
                                     heads.begin, heads.end, keys.in<float>(w.arena) + r * width,
                                     values.in<float>(w.arena) + r * width);
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
  // Threads have a part of the scratch each. A single row's overlaps nothing: its heads may be at different commands.
  const size_t scratch_bytes = bytes_of(n_threads * floats);
  std::optional<Slot> slot;
  if (q.rows > 1) slot.emplace(tape.slots(), scratch_bytes);
  const Place scratch = slot ? slot->place() : tape.workplace(scratch_bytes);
  Attention attention{shape, options, store, q.place(), out.place(), scratch, {}, nullptr};
  std::vector<Touch> touches{reads(q.place()), writes(out.place()), writes(scratch), {Place{0, 1}, false, store.get()}};

  const int64_t most_tiles = q.rows * attention.n_head_tiles();  // if every row is one
  const int64_t head_pieces = tape.head_pieces(layout.n_kv_heads);
  const bool by_head = q.rows == 1 && head_pieces >= kHeadPiecesPerThread * n_threads;
  const bool shares_parts = n_threads > 1 && q.rows <= kFewRows && !by_head;
  std::optional<Slot> parts;
  if (shares_parts) {
    parts.emplace(tape.slots(), bytes_of(attend_part_floats(layout, most_tiles * shape.heads_per_tile) * kMostParts));
    attention.parts = parts->place();
    attention.done.reset(new std::atomic<int64_t>[static_cast<size_t>(most_tiles)]());
    // Before a step, not after the merge: a step that is stopped never comes to merge some tiles.
    tape.add_check([done = attention.done, most_tiles](const Step&) {
      std::fill_n(done.get(), most_tiles, 0);
    });
    touches.push_back(writes(parts->place()));
  }
  const Step& step = tape.step();
  const int64_t n_pieces = by_head ? head_pieces : tape.pieces(shares_parts ? most_tiles * kMostParts : most_tiles);
  tape.add({"attend", std::move(touches), by_head ? n_pieces : 0, n_pieces,
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
