// The state of one recurrence, for any number of sequences.
//
// A sequence has two places. A step reads the one in use and writes the other, so that nothing has happened until that is
// used in its place, and the first can be used again. How the numbers lie within a place is the matter of the op that advances
// them (record/recurrence.cpp).
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "runtime.h"

namespace nearlight {

class RecurrentStore {
 public:
  RecurrentStore(std::shared_ptr<Runtime> runtime, int64_t size) : runtime_(std::move(runtime)), size_(size) {}
  RecurrentStore(const RecurrentStore&) = delete;
  RecurrentStore& operator=(const RecurrentStore&) = delete;

  int64_t size() const { return size_; }  // floats of a state

  // Make room for a sequence; a new one's state is zeros.
  void reserve(int64_t sequence);
  // Read from place 0 or 1 from now on. Raises std::invalid_argument for a sequence that is not reserved.
  void use(int64_t sequence, int place);
  // Make the state of `target` that of `source`; a new target has one place only, until it is reserved. Raises
  // std::invalid_argument for a source without a state.
  void copy(int64_t source, int64_t target);
  void clear(int64_t sequence);  // zeros
  void free(int64_t sequence);
  size_t n_bytes() const;

  // Whether a step can advance it: both places are there.
  bool has(int64_t sequence) const {
    const auto found = pairs_.find(sequence);
    return found != pairs_.end() && found->second.places[0] && found->second.places[1];
  }
  // Of a sequence that is reserved; valid until the next of the calls above.
  const float* state(int64_t sequence) const { return pairs_.at(sequence).used(); }
  float* next(int64_t sequence) const { return pairs_.at(sequence).place(1 - pairs_.at(sequence).in_use); }

 private:
  struct Pair {
    std::shared_ptr<std::byte[]> places[2];  // in huge pages, each from a cache line on
    int in_use = 0;

    float* place(int i) const { return reinterpret_cast<float*>(places[i].get()); }
    float* used() const { return place(in_use); }
  };
  Pair& pair(int64_t sequence);
  std::shared_ptr<std::byte[]> zeros() const;

  std::shared_ptr<Runtime> runtime_;  // whose lock keeps storage in place while a step runs
  int64_t size_;
  std::unordered_map<int64_t, Pair> pairs_;
};

}  // namespace nearlight
