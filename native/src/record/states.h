// Commands that advance the states of a step's sequences, cut by units of channels.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../runtime/recurrent_store.h"
#include "../runtime/share.h"
#include "record.h"

namespace nearlight {

// The state that a sequence's rows go on from, and where the state after them is written.
struct States {
  const float* before;
  float* after;
};

// Add a command that computes `out` unit by unit, from `from` and the states. compute(worker, unit, span, states)
template <typename F>
void add_by_unit(Tape& tape, std::string name, const std::vector<Place>& from, const Activation& out,
                 const std::shared_ptr<RecurrentStore>& store, int64_t n_units, F compute) {
  tape.before_run([store](const Step& step) {
    for (const Span& span : step.spans) {
      if (store->has(span.sequence)) continue;
      throw std::invalid_argument("sequence " + std::to_string(span.sequence) + ": expected room for its state");
    }
  });
  std::vector<Touch> touches{writes(out.place()), {Place{0, 1}, true, store.get()}};
  for (const Place& place : from) touches.push_back(reads(place));
  const int64_t n_pieces = tape.pieces(n_units);
  const Step& step = tape.step();
  tape.add({std::move(name), std::move(touches), {}, n_pieces, [=, &step](const Worker& w, int64_t piece) {
              const Share mine = share(n_units, piece, n_pieces);
              for (const Span& span : step.spans) {
                const States states{store->state(span.sequence), store->next(span.sequence)};
                for (int64_t unit = mine.begin; unit < mine.end; unit++) compute(w, unit, span, states);
              }
            }});
}

}  // namespace nearlight
