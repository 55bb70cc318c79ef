// See recurrent_store.h.
#include "recurrent_store.h"

#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>

namespace nearlight {

RecurrentStore::Pair& RecurrentStore::pair(int64_t sequence) {
  Pair& found = pairs_[sequence];
  if (!found.current) found.current = std::make_unique<float[]>(static_cast<size_t>(size_));  // zeros
  return found;
}

void RecurrentStore::reserve(int64_t sequence) {
  const std::lock_guard lock(runtime_->mutex);
  Pair& places = pair(sequence);
  if (!places.other) places.other = std::make_unique<float[]>(static_cast<size_t>(size_));
}

void RecurrentStore::exchange(int64_t sequence) {
  const std::lock_guard lock(runtime_->mutex);
  if (has(sequence)) pairs_.at(sequence).current.swap(pairs_.at(sequence).other);
}

void RecurrentStore::copy(int64_t source, int64_t target) {
  if (source == target) return;
  const std::lock_guard lock(runtime_->mutex);
  if (pairs_.count(source) == 0) throw std::invalid_argument("sequence " + std::to_string(source) + " has no state");
  pair(target);  // before the source is looked up: it may move what is there
  std::memcpy(pairs_.at(target).current.get(), state(source), sizeof(float) * static_cast<size_t>(size_));
}

void RecurrentStore::clear(int64_t sequence) {
  const std::lock_guard lock(runtime_->mutex);
  std::memset(pair(sequence).current.get(), 0, sizeof(float) * static_cast<size_t>(size_));
}

void RecurrentStore::free(int64_t sequence) {
  const std::lock_guard lock(runtime_->mutex);
  pairs_.erase(sequence);
}

size_t RecurrentStore::n_bytes() const {
  const std::lock_guard lock(runtime_->mutex);
  size_t n_places = 0;
  for (const auto& [number, places] : pairs_) n_places += places.other ? 2 : 1;
  return n_places * sizeof(float) * static_cast<size_t>(size_);
}

}  // namespace nearlight
