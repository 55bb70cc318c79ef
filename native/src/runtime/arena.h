// Where activations live: one range of memory per runtime, shared by all its tapes.
//
// Commands name places by offset, because the arena may move when a larger tape is recorded. Which offsets are free is
// decided once, while recording: an activation takes a slot and gives it back when the last holder lets go, so the
// same few slots serve every layer and stay in cache. Nothing is allocated when a tape is replayed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "memory.h"

namespace nearlight {

// A range of the arena.
struct Place {
  size_t offset = 0, n_bytes = 0;

  bool operator==(const Place&) const = default;
  bool overlaps(const Place& other) const {
    return offset < other.offset + other.n_bytes && other.offset < offset + n_bytes;
  }
  template <class T>
  T* in(std::byte* arena) const {
    return reinterpret_cast<T*>(arena + offset);
  }
};

class Arena {
 public:
  // Make room for n_bytes; what was there is lost.
  void reserve(size_t n_bytes);
  std::byte* data() const { return memory_.get(); }
  size_t n_bytes() const { return n_bytes_; }

 private:
  Memory memory_;
  size_t n_bytes_ = 0;
};

// The free and taken ranges of the arena while a tape is recorded: first fit, lowest offset first. A place is as
// long as what was asked for, although it has its last cache line to itself: so places of equally many rows are equal
// only if the rows are as long, too (Tape::conflicts).
class Slots {
 public:
  Place take(size_t n_bytes);
  void give_back(Place place);
  // From now on, what is given back is free only after the next release: whoever took it before, in the same stage, would
  // have to wait for those who still use it.
  void hold_back() { holds_back_ = true; }
  void release();
  size_t peak() const { return end_; }  // bytes the arena needs

 private:
  void make_free(Place place);

  bool holds_back_ = false;
  std::vector<Place> held_back_;
  std::map<size_t, size_t> free_;  // offset -> bytes; neighbours are merged
  size_t end_ = 0;
};

// A taken slot, given back on destruction.
class Slot {
 public:
  Slot(std::shared_ptr<Slots> slots, size_t n_bytes) : slots_(std::move(slots)), place_(slots_->take(n_bytes)) {}
  ~Slot() { slots_->give_back(place_); }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

  Place place() const { return place_; }
  bool belongs_to(const std::shared_ptr<Slots>& slots) const { return slots_ == slots; }

 private:
  std::shared_ptr<Slots> slots_;
  Place place_;
};

}  // namespace nearlight
