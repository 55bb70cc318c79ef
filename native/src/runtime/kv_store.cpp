// See kv_store.h.
#include "kv_store.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace nearlight {

KVStore::KVStore(std::shared_ptr<Runtime> runtime, int64_t n_kv_heads, int64_t head_dim, KVFormat format)
    : runtime_(std::move(runtime)), layout_{n_kv_heads, head_dim, format} {}

void KVStore::grow(Sequence& sequence, int64_t n_tokens) {
  const size_t wanted = static_cast<size_t>((n_tokens + kSegmentTokens - 1) / kSegmentTokens);
  while (sequence.owned.size() < wanted) {
    sequence.owned.push_back(runtime_->segments.allocate(static_cast<size_t>(layout_.segment_bytes())));
    sequence.segments.push_back(sequence.owned.back().get());
  }
}

int64_t KVStore::reserve(int64_t sequence, int64_t n_tokens) {
  const std::lock_guard lock(runtime_->mutex);
  grow(sequences_[sequence], n_tokens);
  return room(sequence);
}

void KVStore::copy(int64_t source, int64_t target, int64_t n_tokens) {
  if (source == target) return;
  const std::lock_guard lock(runtime_->mutex);
  if (room(source) < n_tokens) {
    throw std::invalid_argument("sequence " + std::to_string(source) + " has room for " +
                                std::to_string(room(source)) + " tokens, not " + std::to_string(n_tokens));
  }
  const Sequence& original = sequences_[source];
  const auto& from = original.segments;
  Sequence copied;
  copied.n_released = original.n_released;
  copied.owned.resize(original.n_released), copied.segments.resize(original.n_released);
  grow(copied, n_tokens);
  for (size_t i = copied.n_released; i < copied.segments.size(); ++i) {
    std::memcpy(copied.segments[i], from[i], static_cast<size_t>(layout_.segment_bytes()));
  }
  sequences_[target] = std::move(copied);
}

void KVStore::release(int64_t sequence, int64_t before) {
  const std::lock_guard lock(runtime_->mutex);
  const auto found = sequences_.find(sequence);
  if (found == sequences_.end()) return;
  Sequence& kept = found->second;
  const auto n = std::min(static_cast<size_t>(std::max<int64_t>(before, 0) / kSegmentTokens), kept.owned.size());
  for (; kept.n_released < n; kept.n_released++) {
    kept.owned[kept.n_released].reset();
    kept.segments[kept.n_released] = nullptr;
  }
}

void KVStore::clear(int64_t sequence) {
  const std::lock_guard lock(runtime_->mutex);
  const auto found = sequences_.find(sequence);
  if (found == sequences_.end()) return;
  for (std::byte* segment : found->second.segments) {
    if (segment) std::memset(segment, 0, static_cast<size_t>(layout_.segment_bytes()));
  }
}

void KVStore::free(int64_t sequence) {
  const std::lock_guard lock(runtime_->mutex);
  sequences_.erase(sequence);
}

size_t KVStore::n_bytes() const {
  const std::lock_guard lock(runtime_->mutex);
  size_t n_segments = 0;
  for (const auto& [number, sequence] : sequences_) n_segments += sequence.owned.size() - sequence.n_released;
  return n_segments * static_cast<size_t>(layout_.segment_bytes());
}

int64_t KVStore::room(int64_t sequence) const {
  const auto found = sequences_.find(sequence);
  return found == sequences_.end() ? 0 : static_cast<int64_t>(found->second.owned.size()) * kSegmentTokens;
}

int64_t KVStore::first_kept(int64_t sequence) const {
  const auto found = sequences_.find(sequence);
  return found == sequences_.end() ? 0 : static_cast<int64_t>(found->second.n_released) * kSegmentTokens;
}

std::byte* const* KVStore::segments(int64_t sequence) const { return sequences_.at(sequence).segments.data(); }

}  // namespace nearlight
