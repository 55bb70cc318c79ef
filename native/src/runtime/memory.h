// Aligned memory that frees itself.
//
// Everything a kernel streams through (arena, cache segments, parameters) starts on a cache line, so that no vector
// load of a row's start is split in two; large pieces ask for huge pages, because a weight-sized stretch of 4 kB pages
// costs a TLB miss every few hundred nanoseconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace nearlight {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

struct Release {
  void operator()(std::byte* data) const;
};

using Memory = std::unique_ptr<std::byte[], Release>;

// Allocate n_bytes of zeros. Raises std::bad_alloc.
Memory allocate(size_t n_bytes);

constexpr size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace nearlight
