// Keys and values of one attention layer, for any number of sequences.
//
// A sequence is a list of segments of 256 tokens, so growing copies nothing and a recorded command can keep pointing
// at the store. Within a segment the tokens of one key head lie together, since that is what one thread reads, and
// among these stretches of 128 tokens, in the order in which they are read:
//
//     segment:  head 0: stretch | stretch    head 1: stretch | stretch    …
//     stretch:  keys | key scales | values | value scales
//     keys      [128 tokens / 16][head_dim / P][16 tokens][P]    a token a lane: scores need no horizontal sum
//     values    [128 tokens / P][padded_dim][P]                  padded_dim: head_dim rounded up to whole vectors
//
// P values that are multiplied and added by one instruction lie side by side in a lane: pairs of 32 or 16 bits, fours
// of 8. Codes have scales: of 16 bits a bf16 for each key and value, [128 tokens]; of 8 bits f16, of keys
// [head_dim / 32][128 tokens], of values [128 tokens]. What is rounded up stays zero in keys of pairs, and meets zeros
// otherwise.
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

  // Make room for the first n_tokens positions of a sequence; return for how many there is room now.
  int64_t reserve(int64_t sequence, int64_t n_tokens);
  // Make the first n_tokens of `target` those of `source`. Raises std::invalid_argument if `source` has not as many.
  void copy(int64_t source, int64_t target, int64_t n_tokens);
  // Give back the segments that lie before position `before`; they are never read or written again, until the sequence
  // is freed.
  void release(int64_t sequence, int64_t before);
  // Write zeros for all that a sequence has room for. Memory that was only reserved reads as zeros too, but is not there
  // yet: whoever measures reading a cache must not read that.
  void clear(int64_t sequence);
  void free(int64_t sequence);
  size_t n_bytes() const;

  // Tokens a sequence has room for; 0 for an unknown one.
  int64_t room(int64_t sequence) const;
  // The first token whose segment was not given back.
  int64_t first_kept(int64_t sequence) const;
  // The segments of a sequence that has room, null where they were given back; valid until the next reserve, copy or free.
  std::byte* const* segments(int64_t sequence) const;

 private:
  struct Sequence {
    std::vector<std::shared_ptr<std::byte[]>> owned;
    std::vector<std::byte*> segments;  // the same, as kernels want them
    size_t n_released = 0;             // of these, the first
  };
  void grow(Sequence& sequence, int64_t n_tokens);

  std::shared_ptr<Runtime> runtime_;  // whose lock keeps storage in place while a step runs
  KVLayout layout_;
  std::unordered_map<int64_t, Sequence> sequences_;
};

}  // namespace nearlight
