// Memory for what steps return, used again once whoever got it has let go of it.
//
// Decoding returns a vocabulary of logits, 600 kB, with every token. Fresh from the system they would cost a page fault
// for each 4 kB, which is more than copying them.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace nearlight {

class Results : public std::enable_shared_from_this<Results> {
 public:
  // Return room for n floats, not initialised. Raises std::bad_alloc.
  std::shared_ptr<float[]> take(size_t n) {
    Buffer buffer = find(n);
    if (!buffer.memory) buffer = {n, std::make_unique_for_overwrite<float[]>(n)};
    float* const data = buffer.memory.get();
    // The deleter owns the memory, so that it is freed even if it cannot be kept.
    auto owned = std::make_shared<Buffer>(std::move(buffer));
    return {data, [self = weak_from_this(), owned = std::move(owned)](float*) {
              if (const auto results = self.lock()) results->keep(std::move(*owned));
            }};
  }

 private:
  static constexpr size_t kKept = 2;                 // one in use by a sampler while the next step runs, and one more
  static constexpr size_t kKeptFloats = size_t{4} << 20;  // logits of a whole prompt are too large to hold on to

  struct Buffer {
    size_t n = 0;
    std::unique_ptr<float[]> memory;
  };

  Buffer find(size_t n) {
    const std::lock_guard lock(mutex_);
    for (auto& buffer : free_) {
      if (buffer.n != n) continue;
      Buffer found = std::move(buffer);
      free_.erase(free_.begin() + (&buffer - free_.data()));
      return found;
    }
    return {};
  }

  void keep(Buffer buffer) {
    if (buffer.n > kKeptFloats) return;
    const std::lock_guard lock(mutex_);
    if (free_.size() == kKept) free_.erase(free_.begin());
    free_.push_back(std::move(buffer));
  }

  std::mutex mutex_;
  std::vector<Buffer> free_;
};

}  // namespace nearlight
