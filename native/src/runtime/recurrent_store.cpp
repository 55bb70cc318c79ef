// See recurrent_store.h.
#include "recurrent_store.h"

#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>

namespace nearlight {

std::shared_ptr<std::byte[]> RecurrentStore::zeros() const {
  return runtime_->segments.allocate(sizeof(float) * static_cast<size_t>(size_));
}

RecurrentStore::Pair& RecurrentStore::pair(int64_t sequence) {
  Pair& found = pairs_[sequence];
  auto& used = found.places[found.in_use];
  if (!used) used = zeros();
  return found;
}

void RecurrentStore::reserve(int64_t sequence) {
  const std::lock_guard lock(runtime_->mutex);
  Pair& places = pair(sequence);
  auto& other = places.places[1 - places.in_use];
  if (!other) other = zeros();
}

void RecurrentStore::use(int64_t sequence, int place) {
  const std::lock_guard lock(runtime_->mutex);
  if (!has(sequence) || place < 0 || place > 1) {
    throw std::invalid_argument("sequence " + std::to_string(sequence) + " has no place " + std::to_string(place));
  }
  pairs_.at(sequence).in_use = place;
}

void RecurrentStore::copy(int64_t source, int64_t target) {
  if (source == target) return;
  const std::lock_guard lock(runtime_->mutex);
  if (pairs_.count(source) == 0) throw std::invalid_argument("sequence " + std::to_string(source) + " has no state");
  pair(target);  // before the source is looked up: it may move what is there
  std::memcpy(pairs_.at(target).used(), state(source), sizeof(float) * static_cast<size_t>(size_));
}

void RecurrentStore::clear(int64_t sequence) {
  const std::lock_guard lock(runtime_->mutex);
  std::memset(pair(sequence).used(), 0, sizeof(float) * static_cast<size_t>(size_));
}

void RecurrentStore::free(int64_t sequence) {
  const std::lock_guard lock(runtime_->mutex);
  pairs_.erase(sequence);
}

size_t RecurrentStore::n_bytes() const {
  const std::lock_guard lock(runtime_->mutex);
  size_t n_places = 0;
  for (const auto& [number, places] : pairs_) n_places += (places.places[0] ? 1 : 0) + (places.places[1] ? 1 : 0);
  return n_places * sizeof(float) * static_cast<size_t>(size_);
}

}  // namespace nearlight
