// Aligned memory that frees itself.
//
// Everything a kernel streams through (arena, cache segments, parameters) starts on a cache line, so that no vector
// load of a row's start is split in two; large pieces ask for huge pages, because a matrix in 4 kB pages
// costs a TLB miss every few hundred nanoseconds, and no prefetcher follows across their ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

namespace nearlight {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

struct Release {
  size_t mapped = 0;  // bytes, if the system gave them to us directly; else the C library did
  void operator()(std::byte* data) const;
};

using Memory = std::unique_ptr<std::byte[], Release>;

// Allocate n_bytes of zeros, every page of them touched. Raises std::bad_alloc.
Memory allocate(size_t n_bytes);

// Cuts pieces that live and are read together, a model's matrices, from slabs of huge pages. Most matrices are smaller
// than a huge page or two; each for itself they would lie in small ones, and be read at half the speed.
class Slabs {
 public:
  // Allocate n_bytes of undefined content, which are touched first by those who fill them, on several threads; the slab
  // is given back with the last of its pieces. Raises std::bad_alloc.
  std::shared_ptr<std::byte[]> allocate(size_t n_bytes);

 private:
  std::shared_ptr<std::byte[]> slab_;
  size_t n_bytes_ = 0, used_ = 0;
};

// Cuts what comes and goes, the segments of caches, from slabs of huge pages too: a slab is of segments of one size,
// those given back are used again, and it goes back to the system with the last of them. Not to be used by two threads at
// once, but any may give back a segment.
class Segments {
 public:
  // Allocate n_bytes of zeros. Raises std::bad_alloc.
  std::shared_ptr<std::byte[]> allocate(size_t n_bytes);

 private:
  struct Slab;
  std::multimap<size_t, std::weak_ptr<Slab>> slabs_;  // by the size of their segments
};

constexpr size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace nearlight
