// See ranking.h.
#include "ranking.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "level.h"

namespace nearlight {

Ranking::Ranking(const float* scores, int64_t n)
    : scores_(scores), n_(n), maxima_(static_cast<size_t>((n + kScoreBlock - 1) / kScoreBlock)) {
  level().vector->block_maxima(scores, n, maxima_.data());
  const auto is_nan = [](float maximum) { return std::isnan(maximum); };
  auto best = std::find_if(maxima_.begin(), maxima_.end(), is_nan);
  if (best == maxima_.end()) best = std::max_element(maxima_.begin(), maxima_.end());
  best_block_ = best - maxima_.begin();
}

float Ranking::highest() const { return maxima_[static_cast<size_t>(best_block_)]; }

int64_t Ranking::best() const {
  const int64_t start = best_block_ * kScoreBlock;
  return std::max_element(scores_ + start, scores_ + std::min(n_, start + kScoreBlock)) - scores_;
}

float Ranking::reached_by(int64_t count) const {
  if (count >= n_) return -std::numeric_limits<float>::infinity();
  // Where there are fewer blocks than that, each score is a block.
  std::vector<float> maxima = static_cast<size_t>(count) <= maxima_.size()
                                  ? maxima_
                                  : std::vector<float>(scores_, scores_ + n_);
  const auto last = maxima.begin() + (count - 1);
  std::nth_element(maxima.begin(), last, maxima.end(), std::greater<>());
  return *last;
}

std::vector<Ranked> Ranking::top(int64_t count) const { return reaching(reached_by(count)); }

std::vector<Ranked> Ranking::reaching(float floor) const {
  const auto reaches = [floor](float maximum) { return maximum >= floor; };
  const auto n_blocks = std::count_if(maxima_.begin(), maxima_.end(), reaches);
  std::vector<int32_t> ids(static_cast<size_t>(n_blocks * kScoreBlock));
  const int64_t n = level().vector->scores_reaching(scores_, n_, maxima_.data(), floor, ids.data());
  std::vector<Ranked> ranked(static_cast<size_t>(n));
  for (size_t i = 0; i < ranked.size(); ++i) ranked[i] = {ids[i], scores_[ids[i]]};
  std::sort(ranked.begin(), ranked.end(), [](const Ranked& a, const Ranked& b) {
    return a.score != b.score ? a.score > b.score : a.id < b.id;
  });
  return ranked;
}

double Ranking::sum_of_powers(float factor) const {
  return level().vector->sum_of_powers(scores_, n_, highest(), factor);
}

}  // namespace nearlight
