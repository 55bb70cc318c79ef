// The rows of a step cut for attention.
//
// Attention works on tiles (vector/kernels.h): some rows of one sequence by some query heads. Which rows go together
// depends on the step, on how many a tile may have and on the window, so it is the same in most layers. It is decided
// once, before the step runs; a piece of a command then finds its own tiles without looking at the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../vector/kernels.h"
#include "step.h"

namespace nearlight {

// The rows of a tile: with every group of query heads they make one.
struct TileRows {
  int64_t sequence, first_row, n_rows;
  int64_t split_tokens;           // tokens of a split (split-KV)
  int64_t first_split, n_splits;  // the splits of which some row sees something
  int64_t splits_before;          // of all TileRows before this one
};

class AttendSchedule {
 public:
  AttendSchedule(int64_t most_rows, Window window, bool of_logits)
      : most_rows_(most_rows), window_(window), of_logits_(of_logits) {}

  // Cut the rows, or the logit rows, of a step. Later rows of a sequence come first: they see more tokens, and what is left for the end is
  // short.
  void make(const Step& step);

  int64_t size() const { return static_cast<int64_t>(tiles_.size()); }
  int64_t n_splits() const { return tiles_.empty() ? 0 : tiles_.back().splits_before + tiles_.back().n_splits; }
  const TileRows& operator[](int64_t i) const { return tiles_[static_cast<size_t>(i)]; }
  // The index of the TileRows that split `split` of 0 .. n_splits()-1 belongs to.
  int64_t with_split(int64_t split) const;

 private:
  int64_t split_tokens(int64_t position) const;
  TileRows cut(const std::vector<int32_t>& positions, const Span& span, int64_t begin) const;

  int64_t most_rows_;
  Window window_;
  bool of_logits_;
  std::vector<TileRows> tiles_;  // not given back between steps: nothing is allocated for one as large as before
};

}  // namespace nearlight
