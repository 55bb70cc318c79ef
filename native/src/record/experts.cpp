// Mixtures of experts: which rows go to which experts, and products expert by expert. See record.h.
//
// A row with one of its experts is a pair. Pairs lie in the order of their experts, so that an expert's are consecutive
// and meet its matrix in one product, and by rows within an expert:
//
//     chosen  [R][k]     the experts of a row, best first            weights [R][k]
//     first   [E + 1]    where an expert's pairs begin               places  [R][k]    of a row's pairs
//     active  [E]        the experts that have pairs, n_active       sources [k * R]   the row of a pair
//
// All of this is data of a step. What a command does is divided by what there is: pieces of a product are ranges of the
// active experts' tiles.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../level.h"
#include "record.h"

namespace nearlight {
namespace {

constexpr int64_t kPieceTiles = 4;
constexpr int64_t kLeastBytesPerPiece = 49152, kMostPiecesPerThread = 64;

int64_t n_groups_of(const Matrix& matrix) { return (matrix.n_tiles + kPieceTiles - 1) / kPieceTiles; }

// Where the parts of a step's routes lie.
struct Lists {
  int32_t *chosen, *places, *sources, *first, *active, *n_active;
  float* weights;

  Lists(const Routes& routes, std::byte* arena) {
    const int64_t n_pairs = routes.pairs.most, n_experts = routes.n_experts;
    chosen = routes.slot->place().in<int32_t>(arena);
    places = chosen + n_pairs;
    sources = places + n_pairs;
    first = sources + n_pairs;
    active = first + n_experts + 1;
    n_active = active + n_experts;
    weights = reinterpret_cast<float*>(n_active + 1);
  }

  static size_t n_bytes(int64_t n_pairs, int64_t n_experts) {
    return static_cast<size_t>(4 * n_pairs + 2 * n_experts + 2) * sizeof(int32_t);
  }
};

// Of values that are not a number none is ever the highest; if nothing else is left, the first not chosen yet.
int64_t highest(const std::vector<float>& values, const std::vector<char>& taken) {
  int64_t best = -1;
  for (size_t i = 0; i < values.size(); i++) {
    if (taken[i]) continue;
    if (best < 0 || values[i] > values[static_cast<size_t>(best)] || std::isnan(values[static_cast<size_t>(best)])) {
      if (best >= 0 && std::isnan(values[i])) continue;
      best = static_cast<int64_t>(i);
    }
  }
  return best;
}

// What routing a row needs of memory; one for each piece.
struct Router {
  const Routing& routing;
  std::vector<float> weights, ranks;
  std::vector<char> taken;

  Router(const Routing& options, int64_t n_experts)
      : routing(options), weights(static_cast<size_t>(n_experts)), ranks(weights), taken(weights.size()) {}

  void route(const float* scores, int32_t* chosen, float* chosen_weights) {
    weigh(scores);
    for (size_t e = 0; e < weights.size(); e++) {
      ranks[e] = routing.bias ? weights[e] + routing.bias->data()[e] : weights[e];
    }
    std::fill(taken.begin(), taken.end(), char{0});
    if (routing.n_chosen_groups < routing.n_groups) exclude_groups();
    float sum = 0;
    for (int64_t i = 0; i < routing.n_chosen; i++) {
      const auto expert = static_cast<size_t>(highest(ranks, taken));
      taken[expert] = 1;
      chosen[i] = static_cast<int32_t>(expert);
      chosen_weights[i] = weights[expert];
      sum += weights[expert];
    }
    for (int64_t i = 0; i < routing.n_chosen; i++) {
      if (routing.normalize) chosen_weights[i] /= sum;
      if (routing.expert_scale) chosen_weights[i] *= routing.expert_scale->data()[chosen[i]];
      chosen_weights[i] *= routing.scale;
    }
  }

 private:
  void weigh(const float* scores) {
    const size_t n = weights.size();
    if (routing.sigmoid) {
      for (size_t e = 0; e < n; e++) weights[e] = 1.0f / (1.0f + std::exp(-scores[e]));
      return;
    }
    const float most = *std::max_element(scores, scores + n);
    float sum = 0;
    for (size_t e = 0; e < n; e++) sum += weights[e] = std::exp(scores[e] - most);
    for (float& weight : weights) weight /= sum;
  }

  // Groups are as good as their two best.
  void exclude_groups() {
    const auto n_groups = static_cast<size_t>(routing.n_groups), size = ranks.size() / n_groups;
    std::vector<float> best(n_groups);
    for (size_t g = 0; g < n_groups; g++) {
      float first = -std::numeric_limits<float>::infinity(), second = first;
      for (size_t e = g * size; e < (g + 1) * size; e++) {
        if (ranks[e] > first) {
          second = first, first = ranks[e];
        } else {
          second = std::max(second, ranks[e]);
        }
      }
      best[g] = first + second;
    }
    std::vector<char> kept(n_groups);
    for (int64_t i = 0; i < routing.n_chosen_groups; i++) kept[static_cast<size_t>(highest(best, kept))] = 1;
    for (size_t e = 0; e < ranks.size(); e++) taken[e] = !kept[e / size];
  }
};

// Puts the pairs of n_rows rows in order.
void sort_pairs(const Lists& lists, int64_t n_rows, int64_t n_chosen, int64_t n_experts) {
  const int64_t n_pairs = n_rows * n_chosen;
  std::fill_n(lists.first, n_experts + 1, 0);
  for (int64_t i = 0; i < n_pairs; i++) lists.first[lists.chosen[i] + 1]++;
  *lists.n_active = 0;
  for (int64_t e = 0; e < n_experts; e++) {
    if (lists.first[e + 1]) lists.active[(*lists.n_active)++] = static_cast<int32_t>(e);
    lists.first[e + 1] += lists.first[e];
  }
  std::vector<int32_t> next(lists.first, lists.first + n_experts);
  for (int64_t i = 0; i < n_pairs; i++) {
    const int32_t place = next[static_cast<size_t>(lists.chosen[i])]++;
    lists.places[i] = place;
    lists.sources[place] = static_cast<int32_t>(i / n_chosen);
  }
}

// Where the quantized values of pairs lie: those of an expert from its first pair's on, as if there were no others.
struct Quantized {
  Place place;
  size_t stride;  // bytes from a pair to the next; 0 where all are of one row

  const std::byte* of(int64_t pair, std::byte* arena) const {
    return place.in<std::byte>(arena) + static_cast<size_t>(pair) * stride;
  }
};

// x in the form that the experts' matrices are multiplied with; a row's values go to all of its pairs.
Quantized quantize_pairs(Tape& tape, Activation& x, const Routes& routes, Form form) {
  if (x.rows.most == 1) return {quantize(tape, x, form), 0};
  const bool by_rows = !(x.rows == routes.pairs);
  const size_t stride = round_up(quantized_bytes(form, 1, x.width), kCacheLine);
  auto& slot = x.gathered[{routes.number, form}];
  if (slot) return {slot->place(), stride};
  slot = std::make_shared<Slot>(tape.slots(), stride * static_cast<size_t>(routes.pairs.most));
  const Place from = x.place(), to = slot->place();
  const int64_t n_pieces = tape.row_pieces(routes.pairs), width = x.width;
  const Step& step = tape.step();
  Touch source = reads(from), target = writes(to);
  source.interleaved = by_rows, target.interleaved = true;
  tape.add({"quantize",
            {source, target, reads(routes.slot->place())},
            routes.pairs,
            n_pieces,
            [=, &step](const Worker& w, int64_t piece) {
              const Lists lists(routes, w.arena);
              const Share mine = share(routes.pairs.in(step), piece, n_pieces);
              const int32_t* expert = lists.first;
              for (int64_t pair = mine.begin; pair < mine.end; pair++) {
                while (expert[1] <= pair) expert++;
                const int64_t row = pair - expert[0], n_rows = expert[1] - expert[0];
                const float* values = from.in<float>(w.arena) + (by_rows ? lists.sources[pair] : pair) * width;
                std::byte* quantized = to.in<std::byte>(w.arena) + static_cast<size_t>(expert[0]) * stride;
                level().matmul->quantize(form, values - row * width, width, n_rows, width, quantized, row, row + 1);
              }
            }});
  return {to, stride};
}

}  // namespace

Routes route(Tape& tape, const Activation& scores, const Routing& routing) {
  const int64_t n_experts = scores.width, k = routing.n_chosen;
  const RowCount pairs = scores.rows.pairs(k);
  Routes routes{scores.rows, pairs, n_experts, k, static_cast<int64_t>(tape.n_commands()), nullptr};
  routes.slot = std::make_shared<Slot>(tape.slots(), Lists::n_bytes(pairs.most, n_experts));
  const Place from = scores.place(), to = routes.slot->place();
  const Step& step = tape.step();
  const int64_t n_pieces = tape.row_pieces(scores.rows);
  const auto choose = [=, &step](const Worker& w, int64_t piece) {
    const Lists lists(routes, w.arena);
    Router router(routing, n_experts);
    const Share mine = share(routes.rows.in(step), piece, n_pieces);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      router.route(from.in<float>(w.arena) + r * n_experts, lists.chosen + r * k, lists.weights + r * k);
    }
  };
  const auto sort = [=, &step](const Worker& w, int64_t) {
    sort_pairs(Lists(routes, w.arena), routes.rows.in(step), k, n_experts);
  };
  Touch lists = writes(to);
  lists.interleaved = true;
  if (scores.rows.most == 1) {
    tape.add({"route", {reads(from), lists}, scores.rows, 1, [=](const Worker& w, int64_t piece) {
                choose(w, piece);
                sort(w, piece);
              }});
  } else {
    tape.add({"route", {reads(from), lists}, scores.rows, n_pieces, choose});
    tape.add({"sort pairs", {lists}, {}, 1, sort});
  }
  return routes;
}

Activation expert_linear(Tape& tape, Activation& x, const std::vector<MatrixRef>& weights, const Routes& routes,
                         VectorRef bias) {
  const Matrix& first = weights.front()->matrix;
  Activation out = new_activation(tape, routes.pairs, first.n_out);
  const Form form = level().matmul->form(first.format);
  const Quantized from = quantize_pairs(tape, x, routes, form);
  const Place to = out.place();
  const int64_t n_groups = n_groups_of(first), most_active = std::min(routes.n_experts, routes.pairs.most);
  const int64_t worth = static_cast<int64_t>(first.n_bytes()) * routes.pairs.most / kLeastBytesPerPiece;
  const int64_t most = std::min(most_active * n_groups, kMostPiecesPerThread * tape.runtime()->pool.n_threads());
  const int64_t n_pieces = tape.pieces(most_active * n_groups) == 1 ? 1 : std::clamp<int64_t>(worth, 1, most);
  const std::string name = weights.front()->name.substr(0, weights.front()->name.find('['));
  tape.add({name,
            {reads(from.place), reads(routes.slot->place()), writes(to)},
            {},
            n_pieces,
            [=](const Worker& w, int64_t piece) {
              const Lists lists(routes, w.arena);
              const Share mine = share(*lists.n_active * n_groups, piece, n_pieces);
              for (int64_t at = mine.begin; at < mine.end;) {
                const int64_t expert = lists.active[at / n_groups], begin = at % n_groups;
                const int64_t end = std::min(n_groups, begin + mine.end - at);
                const int64_t pair = lists.first[expert], n_rows = lists.first[expert + 1] - pair;
                const Matrix& m = weights[static_cast<size_t>(expert)]->matrix;
                level().matmul->multiply(m, from.of(pair, w.arena), n_rows,
                                         bias ? bias->data() + expert * m.n_out : nullptr,
                                         to.in<float>(w.arena) + pair * m.n_out, m.n_out, kPieceTiles * begin,
                                         std::min(kPieceTiles * end, m.n_tiles));
                at += end - begin;
              }
            }});
  return out;
}

Activation weigh(Tape& tape, const Activation& y, const Routes& routes) {
  Activation out = new_activation(tape, y.rows, y.width);
  const Place from = y.place(), to = out.place();
  const int64_t n_pieces = tape.row_pieces(routes.rows), width = y.width, k = routes.n_chosen;
  const Step& step = tape.step();
  Touch pairs = reads(from), lists = reads(routes.slot->place()), weighed = writes(to);
  pairs.interleaved = lists.interleaved = weighed.interleaved = true;
  tape.add({"weigh", {pairs, lists, weighed}, routes.rows, n_pieces, [=, &step](const Worker& w, int64_t piece) {
              const Lists all(routes, w.arena);
              const Share mine = share(routes.rows.in(step), piece, n_pieces);
              for (int64_t i = mine.begin * k; i < mine.end * k; i++) {
                const int64_t at = all.places[i] * width;
                level().vector->scale(from.in<float>(w.arena) + at, all.weights[i], to.in<float>(w.arena) + at, width);
              }
            }});
  return out;
}

Activation combine(Tape& tape, const Activation& y, const Routes& routes, bool weighted) {
  Activation out = new_activation(tape, routes.rows, y.width);
  const Place from = y.place(), to = out.place();
  const int64_t n_pieces = tape.row_pieces(routes.rows), width = y.width, k = routes.n_chosen;
  const Step& step = tape.step();
  Touch pairs = reads(from), lists = reads(routes.slot->place());
  pairs.interleaved = lists.interleaved = true;
  tape.add({"combine", {pairs, lists, writes(to)}, routes.rows, n_pieces, [=, &step](const Worker& w, int64_t piece) {
              const Lists all(routes, w.arena);
              const Share mine = share(routes.rows.in(step), piece, n_pieces);
              for (int64_t r = mine.begin; r < mine.end; r++) {
                float* const sum = to.in<float>(w.arena) + r * width;
                std::fill_n(sum, width, 0.0f);
                for (int64_t i = r * k; i < (r + 1) * k; i++) {
                  const float* const values = from.in<float>(w.arena) + all.places[i] * width;
                  level().vector->add_scaled(sum, weighted ? all.weights[i] : 1.0f, values, sum, width);
                }
              }
            }});
  return out;
}

}  // namespace nearlight
