// See memory.h.
#include "memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <mutex>
#include <new>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#define NEARLIGHT_MAPS 1
#endif

namespace nearlight {
namespace {

// From here on memory is mapped, not taken from the heap: there, a cache's segments cost a sixteenth more than their
// size, and what is freed may not go back to the system.
constexpr size_t kLeastMapped = size_t{256} << 10;

#ifdef NEARLIGHT_MAPS
// Pages are only reserved: what is never touched costs nothing.
Memory map(size_t n_bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t alignment = n_bytes >= kHugePage ? kHugePage : page, rounded = round_up(n_bytes, page);
  const size_t span = rounded + alignment - page;
  if (span < n_bytes) throw std::bad_alloc();
  void* const begin = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (begin == MAP_FAILED) throw std::bad_alloc();
  auto* const first = static_cast<std::byte*>(begin);
  const size_t before = round_up(reinterpret_cast<uintptr_t>(first), alignment) - reinterpret_cast<uintptr_t>(first);
  const size_t after = span - before - rounded;
  if (before) munmap(first, before);
  if (after) munmap(first + before + rounded, after);
#ifdef MADV_HUGEPAGE
  // Only whole huge pages: a partly used one would hold memory that nobody asked for.
  const size_t whole = rounded / kHugePage * kHugePage;
  if (whole) (void)madvise(first + before, whole, MADV_HUGEPAGE);  // a wish: without huge pages it is only slower
#endif
  return Memory(first + before, Release{rounded});
}
#endif

Memory reserve(size_t n_bytes) {
#ifdef NEARLIGHT_MAPS
  if (n_bytes >= kLeastMapped) return map(n_bytes);
#endif
  const size_t rounded = round_up(n_bytes ? n_bytes : 1, kCacheLine);
  void* data = rounded < n_bytes ? nullptr : std::aligned_alloc(kCacheLine, rounded);
  if (!data) throw std::bad_alloc();
  return Memory(static_cast<std::byte*>(data));
}

constexpr size_t kSlabBytes = size_t{64} << 20, kSegmentsBytes = size_t{16} << 20;

}  // namespace

void Release::operator()(std::byte* data) const {
#ifdef NEARLIGHT_MAPS
  if (mapped) {
    munmap(data, mapped);
    return;
  }
#endif
  std::free(data);
}

Memory allocate(size_t n_bytes) {
  Memory memory = reserve(n_bytes);
  std::memset(memory.get(), 0, n_bytes);
  return memory;
}

std::shared_ptr<std::byte[]> Slabs::allocate(size_t n_bytes) {
  if (n_bytes > kSlabBytes / 4) return reserve(n_bytes);
  const size_t rounded = round_up(n_bytes, kCacheLine);
  if (!slab_ || used_ + rounded > n_bytes_) {
    slab_ = reserve(kSlabBytes);
    n_bytes_ = kSlabBytes;
    used_ = 0;
  }
  std::byte* piece = slab_.get() + used_;
  used_ += rounded;
  return {slab_, piece};
}

struct Segments::Slab {
  Slab(size_t size, size_t n) : segment_bytes(size), n_bytes(n * size), memory(reserve(n_bytes)) {
    if (!memory.get_deleter().mapped) std::memset(memory.get(), 0, n_bytes);
    free.reserve(n);  // giving back must not fail
  }

  // A segment of zeros, or null. Pages that the system has just given us are zeros, and are left for those to touch who
  // fill them, on several threads.
  std::byte* take() {
    const std::lock_guard lock(mutex);
    if (!free.empty()) {
      std::byte* const segment = free.back();
      free.pop_back();
      std::memset(segment, 0, segment_bytes);
      return segment;
    }
    if (used == n_bytes) return nullptr;
    used += segment_bytes;
    return memory.get() + used - segment_bytes;
  }

  void give_back(std::byte* segment) {
    const std::lock_guard lock(mutex);
    free.push_back(segment);
  }

  const size_t segment_bytes, n_bytes;
  Memory memory;
  size_t used = 0;  // bytes that were ever taken
  std::vector<std::byte*> free;
  std::mutex mutex;
};

std::shared_ptr<std::byte[]> Segments::allocate(size_t n_bytes) {
  const size_t rounded = round_up(n_bytes ? n_bytes : 1, kCacheLine);
  std::shared_ptr<Slab> slab;
  std::byte* segment = nullptr;
  const auto [begin, end] = slabs_.equal_range(rounded);
  for (auto it = begin; it != end && !segment;) {
    slab = it->second.lock();
    if (slab) segment = slab->take();
    it = slab ? std::next(it) : slabs_.erase(it);
  }
  if (!segment) {
    slab = std::make_shared<Slab>(rounded, std::max<size_t>(kSegmentsBytes / rounded, 1));
    slabs_.emplace(rounded, slab);
    segment = slab->take();
  }
  return {segment, [slab](std::byte* data) { slab->give_back(data); }};
}

}  // namespace nearlight
