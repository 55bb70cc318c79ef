// What changes from one run of a tape to the next: the rows to compute.
#pragma once

#include <cstdint>
#include <vector>

namespace nearlight {

// Consecutive rows of one sequence, in ascending position.
struct Span {
  int64_t sequence, first_row, n_rows;
};

// Rows that were computed elsewhere, float [n, width], of memory that outlives the step.
struct Embeddings {
  const float* data = nullptr;
  int64_t n = 0, width = 0;
};

struct Step {
  std::vector<int32_t> tokens, positions, sequences;  // [R]; a token of -1 - i is the i-th of the embeddings
  std::vector<int32_t> logit_rows;                    // [W], row numbers
  std::vector<int32_t> logit_tokens, logit_positions, logit_sequences;  // [W], of these rows; see find_logit_spans
  Embeddings embeddings;
  std::vector<Span> spans, logit_spans;               // the rows, and the logit rows, by sequence
  std::vector<std::vector<float>> frequencies;        // of each rope: [half], or [R, half]

  int64_t n_rows() const { return static_cast<int64_t>(tokens.size()); }
  // What attention asks of all rows, or of the logit rows.
  const std::vector<int32_t>& positions_of(bool logits) const { return logits ? logit_positions : positions; }
  const std::vector<Span>& spans_of(bool logits) const { return logits ? logit_spans : spans; }
};

// The rows of an activation: all of a step, or its logit rows, or several for each of these, pairs of a row and an
// expert, in an order of their own. A recording knows how many there may be, a step how many there are: from 1 on, or
// always 0.
struct RowCount {
  int64_t most = 0;
  bool of_logits = false;
  int64_t n_pairs = 0;  // for each row, if these are pairs

  RowCount pairs(int64_t n) const { return {most * n, of_logits, n}; }
  int64_t in(const Step& step) const {
    return (n_pairs ? n_pairs : 1) * (of_logits ? static_cast<int64_t>(step.logit_rows.size()) : step.n_rows());
  }
  bool holds(const Step& step) const { return in(step) <= most && (in(step) > 0 || most == 0); }
  // Whether both are as many in every step.
  bool operator==(const RowCount& other) const {
    return most == other.most && n_pairs == other.n_pairs && (most <= 1 || of_logits == other.of_logits);
  }
};

// Find the spans of a step. Raises std::invalid_argument unless positions are >= 0 and ascending within a sequence, and
// the rows of a sequence are consecutive.
void find_spans(Step& step);
// The same of the logit rows, for tapes that go on with these alone: they then are in the order of the rows.
void find_logit_spans(Step& step);

}  // namespace nearlight
