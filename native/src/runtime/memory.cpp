// See memory.h.
#include "memory.h"

#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nearlight {

void Release::operator()(std::byte* data) const { std::free(data); }

namespace {

// Pages are only reserved: what is never touched costs nothing.
Memory reserve(size_t n_bytes) {
  const size_t alignment = n_bytes >= kHugePage ? kHugePage : kCacheLine;
  const size_t rounded = round_up(n_bytes ? n_bytes : 1, kCacheLine);
  void* data = nullptr;
  if (rounded < n_bytes || posix_memalign(&data, alignment, rounded) != 0) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Only whole huge pages: a partly used one would hold memory that nobody asked for.
  const size_t whole = rounded / kHugePage * kHugePage;
  if (whole) (void)madvise(data, whole, MADV_HUGEPAGE);  // a wish: without huge pages it is only slower
#endif
  return Memory(static_cast<std::byte*>(data));
}

constexpr size_t kSlabBytes = size_t{64} << 20;

}  // namespace

Memory allocate(size_t n_bytes) {
  Memory memory = reserve(n_bytes);
  std::memset(memory.get(), 0, n_bytes);
  return memory;
}

std::shared_ptr<std::byte[]> Slabs::allocate(size_t n_bytes) {
  if (n_bytes > kSlabBytes / 4) return nearlight::allocate(n_bytes);
  const size_t rounded = round_up(n_bytes, kCacheLine);
  if (!slab_ || used_ + rounded > n_bytes_) {
    slab_ = reserve(kSlabBytes);
    n_bytes_ = kSlabBytes;
    used_ = 0;
  }
  std::byte* piece = slab_.get() + used_;
  used_ += rounded;
  std::memset(piece, 0, n_bytes);
  return {slab_, piece};
}

}  // namespace nearlight
