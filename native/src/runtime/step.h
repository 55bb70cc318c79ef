// What changes from one run of a tape to the next: the rows to compute.
#pragma once

#include <cstdint>
#include <vector>

namespace nearlight {

// Consecutive rows of one sequence, in ascending position.
struct Span {
  int64_t sequence, first_row, n_rows;
};

struct Step {
  std::vector<int32_t> tokens, positions, sequences;  // [R]
  std::vector<int32_t> logit_rows;                    // [W], row numbers
  std::vector<Span> spans;                            // the rows by sequence
  std::vector<std::vector<float>> frequencies;        // of each rope, for this step's length

  int64_t n_rows() const { return static_cast<int64_t>(tokens.size()); }
};

// Find the spans of a step. Raises std::invalid_argument unless positions are >= 0 and ascending within a sequence, and
// the rows of a sequence are consecutive.
void find_spans(Step& step);

}  // namespace nearlight
