// What the walk over a cache (attend.cpp) and the formats of caches (attend_f32.h, attend_i16.h, attend_q8.h) share.
#pragma once

#include <type_traits>

#include "../simd.h"
#include "kernels.h"

namespace nearlight::NEARLIGHT_LEVEL {

// One stretch of the cache, as the queries of a tile see it.
struct Stretch {
  const std::byte* at;               // keys, their scales, values, their scales
  const std::byte* next;             // the stretch that is read after this one, to be fetched ahead
  int64_t first, last;               // the queries that see some of it
  int64_t begin, end;                // tokens that some query sees; begin is rounded down to a block of 16
  int64_t ends[kMaxQueries];         // of each query: one past the last token it sees
};

// Fetches what will be read half a stretch from now: values while keys are read, the next keys while values are. That
// is 32 kB ahead at 128 dimensions of 16 bits, so it goes to the second cache; nearer would be too late for the memory of a
// machine whose threads all read, and on a stride, where vectors are taken in more than one strip.
NEARLIGHT_INLINE void fetch(const void* address) { __builtin_prefetch(address, 0, 2); }

// Reads the line at an address. Processors drop requests to fetch when they have too many, but not this one; and lines
// that are read one after the other set their own fetching going.
NEARLIGHT_INLINE void touch(const std::byte* address) { asm volatile("" : : "r"(*address)); }

NEARLIGHT_INLINE void touch(const std::byte* begin, const std::byte* end) {
  for (; begin < end; begin += 64) touch(begin);
}

// Calls f with the address of every cache line in which keys and values of tokens begin .. end-1 of a stretch lie: blocks
// of keys, and of values a row of all dimensions for every few tokens.
template <typename F>
NEARLIGHT_INLINE void lines_of(const KVLayout& layout, const std::byte* stretch, int64_t begin, int64_t end, const F& f) {
  const int64_t cell = layout.packed() * layout.value_bytes(), block = layout.key_block_bytes();
  for (int64_t at = begin / kKeyBlock * block; at < (end + kKeyBlock - 1) / kKeyBlock * block; at += 64) f(stretch + at);
  const std::byte* values = stretch + layout.keys_bytes() + layout.key_scales_bytes();
  const int64_t values_row = layout.padded_dim() * cell, last = (end + layout.packed() - 1) / layout.packed();
  for (int64_t at = begin / layout.packed() * values_row; at < last * values_row; at += 64) f(values + at);
}

// Before loops over what a kernel keeps in registers: an array that is indexed by a loop left standing is kept in memory.
#define NEARLIGHT_UNROLLED _Pragma("GCC unroll 16")

// Cuts a tile's scratch into arrays that begin on cache lines.
struct Scratch {
  std::byte* at;

  template <typename T>
  NEARLIGHT_MEMBER T* take(int64_t n) {
    auto* array = reinterpret_cast<T*>(at);
    at += (n * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return array;
  }
};

// The largest power of two up to n, but at most 8 and at least 1: how many vectors to take at once.
constexpr int power_of_two(int n) { return n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1; }

// Calls f with the number n, 1 .. kMost, as a constant.
template <int kMost, typename F>
NEARLIGHT_INLINE void with_constant(int64_t n, const F& f) {
  if constexpr (kMost > 1) {
    if (n < kMost) return with_constant<kMost - 1>(n, f);
  }
  f(std::integral_constant<int, kMost>());
}

// Calls f(first, number as a constant) for vectors begin .. end-1: kMost at once, then half as many, …
template <int kMost, typename F>
NEARLIGHT_INLINE void in_strips(int64_t begin, int64_t end, const F& f) {
  for (; begin + kMost <= end; begin += kMost) f(begin, std::integral_constant<int, kMost>());
  if constexpr (kMost > 1) in_strips<kMost / 2>(begin, end, f);
}

}  // namespace nearlight::NEARLIGHT_LEVEL
