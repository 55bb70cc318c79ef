// See step.h.
#include "step.h"

#include <stdexcept>
#include <string>
#include <unordered_set>

namespace nearlight {

namespace {

std::vector<Span> spans_of(const std::vector<int32_t>& positions, const std::vector<int32_t>& sequences) {
  std::vector<Span> spans;
  std::unordered_set<int32_t> seen;
  for (size_t i = 0; i < positions.size(); ++i) {
    const int32_t position = positions[i], sequence = sequences[i];
    if (position < 0) {
      throw std::invalid_argument("row " + std::to_string(i) + ": position " + std::to_string(position) + " is below 0");
    }
    if (i > 0 && sequence == sequences[i - 1]) {
      if (position <= positions[i - 1]) {
        throw std::invalid_argument("row " + std::to_string(i) + ": position " + std::to_string(position) +
                                    " does not follow " + std::to_string(positions[i - 1]));
      }
      ++spans.back().n_rows;
    } else {
      if (!seen.insert(sequence).second) {
        throw std::invalid_argument("row " + std::to_string(i) + ": the rows of sequence " + std::to_string(sequence) +
                                    " are not consecutive");
      }
      spans.push_back({sequence, static_cast<int64_t>(i), 1});
    }
  }
  return spans;
}

}  // namespace

void find_spans(Step& step) { step.spans = spans_of(step.positions, step.sequences); }

void find_logit_spans(Step& step) {
  const auto pick = [&](const std::vector<int32_t>& all, std::vector<int32_t>& picked) {
    picked.clear();
    for (const int32_t row : step.logit_rows) {
      if (row < 0 || row >= step.n_rows()) {
        throw std::invalid_argument("logit rows: expected 0 … " + std::to_string(step.n_rows() - 1) + ", found " +
                                    std::to_string(row));
      }
      picked.push_back(all[static_cast<size_t>(row)]);
    }
  };
  pick(step.tokens, step.logit_tokens);
  pick(step.positions, step.logit_positions);
  pick(step.sequences, step.logit_sequences);
  step.logit_spans = spans_of(step.logit_positions, step.logit_sequences);
}

}  // namespace nearlight
