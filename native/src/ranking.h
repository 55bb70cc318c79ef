// A vocabulary in the order of its scores, the best first and ties by id, of which only the top is ever looked at.
//
// One pass over the scores notes the best of every block of 256; the rest is read off those 600 numbers. If n blocks
// have a best of at least x, then at least n scores reach x, and all that do are in the blocks whose best does: few
// more than n, as the best scores rarely share a block.
//
//     scores    1 4 0 2 | 3 1 0 1 | 9 2 7 1 | 0 2 1 1 | …
//     maxima       4    |    3    |    9    |    2    | …      the best 3: only in blocks with a maximum of 3 or more
#pragma once

#include <cstdint>
#include <vector>

namespace nearlight {

struct Ranked {
  int32_t id;
  float score;
};

class Ranking {
 public:
  // The n scores, at least one, must stay where and as they are.
  Ranking(const float* scores, int64_t n);

  int64_t size() const { return n_; }
  float highest() const;  // NaN if any score is; then nothing but best() may be asked
  int64_t best() const;   // the first with the highest score

  // Rank at least `count` of them (1 or more), or all there are, and all that tie with the last.
  std::vector<Ranked> top(int64_t count) const;
  // Rank all that are at least `floor`.
  std::vector<Ranked> reaching(float floor) const;
  // Add up 2^(factor * (score - highest)); factor is positive and finite.
  double sum_of_powers(float factor) const;

 private:
  float reached_by(int64_t count) const;

  const float* scores_;
  int64_t n_;
  std::vector<float> maxima_;
  int64_t best_block_;
};

}  // namespace nearlight
