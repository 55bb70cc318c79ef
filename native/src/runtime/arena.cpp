// See arena.h.
#include "arena.h"

#include <iterator>

namespace nearlight {
namespace {

// What a slot takes up: whole cache lines.
size_t whole_lines(size_t n_bytes) { return round_up(n_bytes ? n_bytes : 1, kCacheLine); }

}  // namespace

void Arena::reserve(size_t n_bytes) {
  if (n_bytes <= n_bytes_) return;
  memory_.reset();  // first, so that old and new need not both fit
  n_bytes_ = 0;
  memory_ = allocate(n_bytes);
  n_bytes_ = n_bytes;
}

Place Slots::take(size_t wanted) {
  const size_t n_bytes = whole_lines(wanted);
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    const auto [offset, available] = *it;
    if (available < n_bytes) continue;
    free_.erase(it);
    if (available > n_bytes) free_.emplace(offset + n_bytes, available - n_bytes);
    return {offset, wanted};
  }
  // Nothing fits: grow at the end, taking in a free range that already lies there.
  size_t offset = end_;
  if (!free_.empty()) {
    const auto last = std::prev(free_.end());
    if (last->first + last->second == end_) {
      offset = last->first;
      free_.erase(last);
    }
  }
  end_ = offset + n_bytes;
  return {offset, wanted};
}

void Slots::give_back(Place place) {
  if (holds_back_) {
    held_back_.push_back(place);
  } else {
    make_free(place);
  }
}

void Slots::release() {
  for (const Place& place : held_back_) make_free(place);
  held_back_.clear();
}

void Slots::make_free(Place place) {
  place.n_bytes = whole_lines(place.n_bytes);
  auto next = free_.lower_bound(place.offset);
  if (next != free_.end() && place.offset + place.n_bytes == next->first) {
    place.n_bytes += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == place.offset) {
      before->second += place.n_bytes;
      return;
    }
  }
  free_.emplace(place.offset, place.n_bytes);
}

}  // namespace nearlight
