// Where a key or value lies in a segment of the KV store; see runtime/kv_store.h for the picture.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nearlight {

enum class KVFormat : int { F32, I16, Q8 };  // I16, Q8: codes with scales

constexpr int kSegmentTokens = 256;
constexpr int kStretchTokens = 128;  // tokens whose keys and values lie together
constexpr int kKeyBlock = 16;        // tokens whose keys do: as many as a vector has lanes
constexpr int kKeyGroup = 32;        // dimensions of a Q8 key that share a scale

struct KVLayout {
  int64_t n_kv_heads, head_dim;
  KVFormat format;

  // Always inlined: a copy shared between levels could be one with instructions that a processor lacks.
#define NEARLIGHT_CONSTANT [[gnu::always_inline]] constexpr int64_t
  NEARLIGHT_CONSTANT value_bytes() const { return format == KVFormat::F32 ? 4 : format == KVFormat::I16 ? 2 : 1; }
  NEARLIGHT_CONSTANT packed() const { return format == KVFormat::Q8 ? 4 : 2; }  // values side by side in a lane
  NEARLIGHT_CONSTANT key_dim() const { return (head_dim + packed() - 1) / packed() * packed(); }
  NEARLIGHT_CONSTANT padded_dim() const { return (head_dim + 15) / 16 * 16; }
  NEARLIGHT_CONSTANT has_scales() const { return format != KVFormat::F32; }
  // Scales of a key: one of 16 bits, of 8 bits one for each group of dimensions.
  NEARLIGHT_CONSTANT key_groups() const {
    return format == KVFormat::Q8 ? (head_dim + kKeyGroup - 1) / kKeyGroup : has_scales();
  }

  // Of a stretch: keys, their scales, values, their scales, in this order.
  NEARLIGHT_CONSTANT key_block_bytes() const { return kKeyBlock * key_dim() * value_bytes(); }
  NEARLIGHT_CONSTANT keys_bytes() const { return kStretchTokens / kKeyBlock * key_block_bytes(); }
  NEARLIGHT_CONSTANT key_scales_bytes() const { return 2 * kStretchTokens * key_groups(); }
  NEARLIGHT_CONSTANT values_bytes() const { return kStretchTokens * padded_dim() * value_bytes(); }
  NEARLIGHT_CONSTANT value_scales_bytes() const { return 2 * kStretchTokens * has_scales(); }
  NEARLIGHT_CONSTANT stretch_bytes() const {
    return keys_bytes() + key_scales_bytes() + values_bytes() + value_scales_bytes();
  }
  NEARLIGHT_CONSTANT head_bytes() const { return kSegmentTokens / kStretchTokens * stretch_bytes(); }
  NEARLIGHT_CONSTANT segment_bytes() const { return n_kv_heads * head_bytes(); }
  NEARLIGHT_CONSTANT token_bytes() const { return segment_bytes() / kSegmentTokens; }
#undef NEARLIGHT_CONSTANT
};

// The stretch of one key head in which a token lies.
[[gnu::always_inline]] inline std::byte* stretch_of(const KVLayout& layout, std::byte* const* segments, int64_t kv_head,
                                                    int64_t token) {
  return segments[token / kSegmentTokens] + kv_head * layout.head_bytes() +
         token % kSegmentTokens / kStretchTokens * layout.stretch_bytes();
}

}  // namespace nearlight
