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

Memory allocate(size_t n_bytes) {
  const size_t alignment = n_bytes >= kHugePage ? kHugePage : kCacheLine;
  const size_t rounded = round_up(n_bytes ? n_bytes : 1, kCacheLine);
  void* data = nullptr;
  if (rounded < n_bytes || posix_memalign(&data, alignment, rounded) != 0) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Only whole huge pages: a partly used one would hold memory that nobody asked for.
  const size_t whole = rounded / kHugePage * kHugePage;
  if (whole) (void)madvise(data, whole, MADV_HUGEPAGE);  // a wish: without huge pages it is only slower
#endif
  std::memset(data, 0, rounded);
  return Memory(static_cast<std::byte*>(data));
}

}  // namespace nearlight
