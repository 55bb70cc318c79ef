// Attention: append the rows' keys and values, then attend. See record.h.
//
// Work is divided into tiles (vector/kernels.h): some rows of one sequence by the query heads of one key head. Which
// rows, and in which order, the tape's schedule says (runtime/schedule.h).
//
// With few rows, tiles would be too few, or too unlike, for the threads. Then the pieces of work are the splits of the
// tiles' tokens (split-KV): each leaves what it summed in a place of its own, and whoever does the last split of a tile
// merges them.
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

// Rows of a step up to which splits are shared out.
constexpr int64_t kSplitRows = 8;

// With at least as many parts for each thread, the heads of a single row are enough to share out.
constexpr int64_t kHeadPartsPerThread = 2;

struct Shape {
  int64_t n_heads, head_dim;   // of the queries
  int64_t heads_per_tile;      // query heads: those of a key head, or fewer if they are too many
  int64_t tiles_per_kv_head;
  int64_t rows_per_tile;

  Shape(int64_t width, int64_t dim, int64_t n_kv_heads, int64_t most_rows) : n_heads(width / dim), head_dim(dim) {
    const int64_t group = n_heads / n_kv_heads;
    tiles_per_kv_head = (group + kMaxQueries - 1) / kMaxQueries;
    heads_per_tile = (group + tiles_per_kv_head - 1) / tiles_per_kv_head;
    rows_per_tile = std::min(most_rows, kMaxQueries / heads_per_tile);
  }

  int64_t n_queries() const { return rows_per_tile * heads_per_tile; }
};

// An attention command: what its tiles have in common, and which of them are a piece's. Tiles are counted by their
// rows, in the order of the schedule, and by their heads within these.
struct Attention {
  Shape shape;
  AttendOptions options;
  std::shared_ptr<KVStore> store;
  const std::vector<int32_t>& positions;  // of the step's rows, or of its logit rows
  const AttendSchedule& schedule;
  Place q, out, scratch, splits;
  std::shared_ptr<std::atomic<int64_t>[]> done;  // splits of each tile, where they are shared out

  int64_t n_head_tiles() const { return store->layout().n_kv_heads * shape.tiles_per_kv_head; }

  AttendTile tile(const TileRows& rows, int64_t head_tile, const Worker& w) const {
    const KVLayout& layout = store->layout();
    const int64_t kv_head = head_tile / shape.tiles_per_kv_head, group = shape.n_heads / layout.n_kv_heads;
    const int64_t first = head_tile % shape.tiles_per_kv_head * shape.heads_per_tile;
    const int64_t head = kv_head * group + first, width = shape.n_heads * shape.head_dim;
    const int64_t offset = rows.first_row * width + head * shape.head_dim;
    return {.layout = layout,
            .segments = store->segments(rows.sequence),
            .kv_head = kv_head,
            .group = std::min(shape.heads_per_tile, group - first),
            .n_rows = rows.n_rows,
            .positions = positions.data() + rows.first_row,
            .split_tokens = rows.split_tokens,
            .first_split = rows.first_split,
            .n_splits = rows.n_splits,
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
  void run_tiles(int64_t piece, int64_t n_pieces, const Worker& w) const {
    const Share mine = share(schedule.size() * n_head_tiles(), piece, n_pieces);
    for (int64_t number = mine.begin; number < mine.end; number++) {
      level().vector->attend(tile(schedule[number / n_head_tiles()], number % n_head_tiles(), w));
    }
  }

  // Piece `piece` of n_pieces: a range of the splits of all tiles.
  void run_splits(int64_t piece, int64_t n_pieces, const Worker& w) const {
    const Share mine = share(schedule.n_splits() * n_head_tiles(), piece, n_pieces);
    for (int64_t at = mine.begin; at < mine.end;) {
      const int64_t i = schedule.with_split(at / n_head_tiles());
      const TileRows& rows = schedule[i];
      const int64_t past = at - rows.splits_before * n_head_tiles();
      const int64_t head_tile = past / rows.n_splits, begin = past % rows.n_splits;
      const int64_t end = std::min(rows.n_splits, begin + mine.end - at);
      run_splits_of(rows, head_tile, {begin, end}, done[i * n_head_tiles() + head_tile], w);
      at += end - begin;
    }
  }

  // These splits of a tile, and merging all of them if they are the last; n_done: how many were done before.
  void run_splits_of(const TileRows& rows, int64_t head_tile, Share mine, std::atomic<int64_t>& n_done,
                     const Worker& w) const {
    const AttendTile whole = tile(rows, head_tile, w);
    // Every query has room for kMostSplits; those of a tile lie together.
    const int64_t place = (rows.first_row * n_head_tiles() + head_tile * rows.n_rows) * shape.heads_per_tile;
    const int64_t floats = attend_split_floats(whole.layout, whole.n_rows * whole.group);
    float* sums = splits.in<float>(w.arena) + attend_split_floats(whole.layout, place) * kMostSplits;
    for (int64_t i = mine.begin; i < mine.end; i++) {
      level().vector->attend_split(whole, whole.first_split + i, sums + i * floats);
    }
    if (n_done.fetch_add(mine.size(), std::memory_order_acq_rel) + mine.size() < whole.n_splits) return;
    level().vector->merge_splits(whole, sums);
  }
};

// Every row must have room in the store, and what it sees must be there still.
void check_room(const KVStore& store, const Step& step, Window window = {1}) {
  for (const Span& span : step.spans) {
    const int64_t first = window.first_token(step.positions[static_cast<size_t>(span.first_row)]);
    if (first < store.first_kept(span.sequence)) {
      throw std::invalid_argument("sequence " + std::to_string(span.sequence) + ": position " + std::to_string(first) +
                                  " was given back, as all before " + std::to_string(store.first_kept(span.sequence)));
    }
    const int64_t last = step.positions[static_cast<size_t>(span.first_row + span.n_rows - 1)];
    if (last >= store.room(span.sequence)) {
      throw std::invalid_argument("sequence " + std::to_string(span.sequence) + ": position " + std::to_string(last) +
                                  " is beyond the reserved room of " + std::to_string(store.room(span.sequence)));
    }
  }
}

}  // namespace

void append(Tape& tape, const Activation& k, const Activation& v, std::shared_ptr<KVStore> store) {
  tape.before_run([store](const Step& step) { check_room(*store, step); });
  const Step& step = tape.step();
  const Place keys = k.place(), values = v.place();
  const HeadCut cut(tape, k.rows, store->layout().n_kv_heads);
  tape.add({"append",
            {reads(keys), reads(values), {Place{0, 1}, true, store.get()}},
            cut.row_wise(),
            cut.n_pieces,
            [=, &step, width = k.width](const Worker& w, int64_t piece) {
              const Share rows = cut.rows(step, piece), heads = cut.heads(piece);
              for (int64_t r = rows.begin; r < rows.end; r++) {
                const auto i = static_cast<size_t>(r);
                level().vector->append(store->layout(), store->segments(step.sequences[i]), step.positions[i],
                                     heads.begin, heads.end, keys.in<float>(w.arena) + r * width,
                                     values.in<float>(w.arena) + r * width);
              }
            }});
}

Activation attend(Tape& tape, const Activation& q, std::shared_ptr<KVStore> store, const AttendOptions& options) {
  tape.before_run([store, window = options.window](const Step& step) { check_room(*store, step, window); });
  Activation out = new_activation(tape, q.rows, q.width);
  if (q.rows.most == 0) return out;
  const KVLayout& layout = store->layout();
  const Shape shape(q.width, layout.head_dim, layout.n_kv_heads, q.rows.most);
  const int64_t floats = attend_scratch_floats(layout, shape.n_queries());
  const int n_threads = tape.runtime()->pool.n_threads();
  const auto bytes_of = [](int64_t n) { return static_cast<size_t>(n) * sizeof(float); };
  // Threads have a part of the scratch each. A single row's overlaps nothing: its heads may be at different commands.
  const size_t scratch_bytes = bytes_of(n_threads * floats);
  std::optional<Slot> slot;
  if (q.rows.most > 1) slot.emplace(tape.slots(), scratch_bytes);
  const Place scratch = slot ? slot->place() : tape.workplace(scratch_bytes);
  Attention attention{.shape = shape,
                      .options = options,
                      .store = store,
                      .positions = tape.step().positions_of(q.rows.of_logits),
                      .schedule = tape.schedule(shape.rows_per_tile, options.window, q.rows.of_logits),
                      .q = q.place(),
                      .out = out.place(),
                      .scratch = scratch,
                      .splits = {},
                      .done = nullptr};
  std::vector<Touch> touches{reads(q.place()), writes(out.place()), writes(scratch), {Place{0, 1}, false, store.get()}};

  const int64_t most_tiles = q.rows.most * attention.n_head_tiles();  // if every row is one
  const int64_t n_parts = tape.row_parts(layout.n_kv_heads);
  const bool by_head = q.rows.most == 1 && n_parts >= kHeadPartsPerThread * n_threads;
  const bool shares_splits = n_threads > 1 && q.rows.most <= kSplitRows && !by_head;
  std::optional<Slot> splits;
  if (shares_splits) {
    const int64_t most_queries = most_tiles * shape.heads_per_tile;
    splits.emplace(tape.slots(), bytes_of(attend_split_floats(layout, most_queries) * kMostSplits));
    attention.splits = splits->place();
    attention.done.reset(new std::atomic<int64_t>[static_cast<size_t>(most_tiles)]());
    // Before a step, not after the merge: a step that is stopped never comes to merge some tiles.
    tape.before_run([done = attention.done, most_tiles](const Step&) {
      std::fill_n(done.get(), most_tiles, 0);
    });
    touches.push_back(writes(splits->place()));
  }
  const int64_t n_pieces = by_head ? n_parts : tape.pieces(shares_splits ? most_tiles * kMostSplits : most_tiles);
  if (by_head) out.n_parts = n_parts;
  tape.add({"attend", std::move(touches), by_head ? RowCount{n_pieces} : RowCount{}, n_pieces,
            [attention, shares_splits, n_pieces](const Worker& w, int64_t piece) {
              if (shares_splits) return attention.run_splits(piece, n_pieces, w);
              attention.run_tiles(piece, n_pieces, w);
            }});
  return out;
}

// Keys and values go through a store of the tape's own, in full precision, that makes its own room.
Activation attend_whole(Tape& tape, const Activation& q, const Activation& k, const Activation& v, int64_t length,
                        int64_t head_dim, const AttendOptions& options) {
  auto store = std::make_shared<KVStore>(tape.runtime(), k.width / head_dim, head_dim, KVFormat::F32);
  tape.before_run([store, length](const Step& step) {
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
  append(tape, k, v, store);
  return attend(tape, q, store, options);
}

}  // namespace nearlight
