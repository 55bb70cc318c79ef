// See schedule.h.
#include "schedule.h"

#include <algorithm>

namespace nearlight {

void AttendSchedule::make(const Step& step) {
  tiles_.clear();
  const std::vector<int32_t>& positions = step.positions_of(of_logits_);
  for (const Span& span : step.spans_of(of_logits_)) {
    const auto n_before = static_cast<std::ptrdiff_t>(tiles_.size());
    for (int64_t begin = 0; begin < span.n_rows; begin += tiles_.back().n_rows) {
      tiles_.push_back(cut(positions, span, begin));
    }
    std::reverse(tiles_.begin() + n_before, tiles_.end());
  }
  int64_t n_splits = 0;
  for (TileRows& tile : tiles_) {
    tile.splits_before = n_splits;
    n_splits += tile.n_splits;
  }
}

int64_t AttendSchedule::with_split(int64_t split) const {
  const auto after = std::ranges::upper_bound(tiles_, split, {}, &TileRows::splits_before);
  return after - tiles_.begin() - 1;
}

int64_t AttendSchedule::split_tokens(int64_t position) const {
  return nearlight::split_tokens(position + 1 - window_.first_token(position));
}

// The rows of `span` from `begin` on, as far as they have splits alike and lie so near each other that together they
// see kMostSplits at most. Within a chunk, as without chunks, later rows see no fewer tokens: so the last row's splits
// tell of those between.
TileRows AttendSchedule::cut(const std::vector<int32_t>& positions, const Span& span, int64_t begin) const {
  const int64_t first_row = span.first_row + begin;
  const int32_t* const position = positions.data() + first_row;
  const int64_t tokens = split_tokens(position[0]);
  int64_t n = std::min(most_rows_, span.n_rows - begin);
  const int64_t first_token = window_.first_token(position[0]), first_split = first_token / tokens;
  const auto together = [&](int64_t last) {
    return position[last] - position[0] < kLeastSplitTokens && split_tokens(position[last]) == tokens &&
           !(window_.chunked && window_.first_token(position[last]) != first_token);
  };
  while (!together(n - 1)) n--;
  return {.sequence = span.sequence,
          .first_row = first_row,
          .n_rows = n,
          .split_tokens = tokens,
          .first_split = first_split,
          .n_splits = position[n - 1] / tokens + 1 - first_split,
          .splits_before = 0};
}

}  // namespace nearlight
