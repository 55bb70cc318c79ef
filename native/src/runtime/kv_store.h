// Keys and values of one attention layer, for any number of sequences.
//
// A sequence is a list of segments of 256 tokens, so growing copies nothing and a recorded command can keep pointing
// at the store. Within a segment the tokens of one key head lie together, since that is what one thread reads:
//
//     segment:  head 0: keys | values    head 1: keys | values    …
//     keys      [16 blocks][head_dim][16 tokens]   a token per vector lane: scores need no horizontal sum
//     values    [256 tokens][padded_dim]           padded_dim: head_dim rounded up to whole vectors
//
// Values are f16 or f32, as the store was made.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "../kv_layout.h"
#include "memory.h"
#include "runtime.h"

namespace nearlight {

class KVStore {
 public:
  KVStore(std::shared_ptr<Runtime> runtime, int64_t n_kv_heads, int64_t head_dim, KVFormat format);
  KVStore(const KVStore&) = delete;
  KVStore& operator=(const KVStore&) = delete;

  const KVLayout& layout() const { return layout_; }

  // Make room for the first n_tokens positions of a sequence.
  void reserve(int64_t sequence, int64_t n_tokens);
  // Make the first n_tokens of `target` those of `source`. Raises std::invalid_argument if `source` has not as many.
  void copy(int64_t source, int64_t target, int64_t n_tokens);
  void free(int64_t sequence);
  size_t n_bytes() const;

  // Tokens a sequence has room for; 0 for an unknown one.
  int64_t room(int64_t sequence) const;
  // The segments of a sequence that has room; valid until the next reserve, copy or free.
  std::byte* const* segments(int64_t sequence) const;

 private:
  struct Sequence {
    std::vector<Memory> owned;
    std::vector<std::byte*> segments;  // the same, as kernels want them
  };
  static void grow(Sequence& sequence, const KVLayout& layout, int64_t n_tokens);

  std::shared_ptr<Runtime> runtime_;  // whose lock keeps storage in place while a step runs
  KVLayout layout_;
  std::unordered_map<int64_t, Sequence> sequences_;
};

}  // namespace nearlight
