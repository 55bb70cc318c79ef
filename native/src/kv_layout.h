// Where a key or value lies in a segment of the KV store; see runtime/kv_store.h for the picture.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nearlight {

enum class KVFormat : int { F32, F16 };

constexpr int kSegmentTokens = 256;
constexpr int kBlockTokens = 16;  // tokens of a key block, a vector lane each

struct KVLayout {
  int64_t n_kv_heads, head_dim;
  KVFormat format;

  // Always inlined: a copy shared between levels could be one with instructions that a processor lacks.
  [[gnu::always_inline]] constexpr int64_t value_bytes() const { return format == KVFormat::F16 ? 2 : 4; }
  [[gnu::always_inline]] constexpr int64_t padded_dim() const { return (head_dim + 15) / 16 * 16; }
  [[gnu::always_inline]] constexpr int64_t keys_bytes() const { return kSegmentTokens * head_dim * value_bytes(); }
  [[gnu::always_inline]] constexpr int64_t head_bytes() const { return keys_bytes() + kSegmentTokens * padded_dim() * value_bytes(); }
  [[gnu::always_inline]] constexpr int64_t segment_bytes() const { return n_kv_heads * head_bytes(); }
};

}  // namespace nearlight
