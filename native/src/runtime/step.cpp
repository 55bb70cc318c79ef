// See step.h.
#include "step.h"

#include <stdexcept>
#include <string>
#include <unordered_set>

namespace nearlight {

void find_spans(Step& step) {
  step.spans.clear();
  std::unordered_set<int32_t> seen;
  for (int64_t row = 0; row < step.n_rows(); ++row) {
    const auto i = static_cast<size_t>(row);
    const int32_t position = step.positions[i], sequence = step.sequences[i];
    if (position < 0) {
      throw std::invalid_argument("row " + std::to_string(row) + ": position " + std::to_string(position) +
                                  " is below 0");
    }
    if (row > 0 && sequence == step.sequences[i - 1]) {
      if (position <= step.positions[i - 1]) {
        throw std::invalid_argument("row " + std::to_string(row) + ": position " + std::to_string(position) +
                                    " does not follow " + std::to_string(step.positions[i - 1]));
      }
      ++step.spans.back().n_rows;
    } else {
      if (!seen.insert(sequence).second) {
        throw std::invalid_argument("row " + std::to_string(row) + ": the rows of sequence " +
                                    std::to_string(sequence) + " are not consecutive");
      }
      step.spans.push_back({sequence, row, 1});
    }
  }
}

}  // namespace nearlight
