// Up to 16 values from memory that has no more.
#pragma once

#include <cstdint>

#include "../simd.h"

namespace nearlight::NEARLIGHT_LEVEL {

struct Lanes {
  int n;
  NEARLIGHT_MEMBER f32x16 load(const float* from) const {
    return n == 16 ? NEARLIGHT_LEVEL::load(from) : load_lanes(from, n);
  }
  NEARLIGHT_MEMBER void store(float* to, const f32x16& v) const {
    n == 16 ? NEARLIGHT_LEVEL::store(to, v) : store_lanes(to, v, n);
  }
};

// All 16, without a question or a call: so that what a loop keeps stays in registers.
struct AllLanes {
  static constexpr int n = 16;
  NEARLIGHT_MEMBER f32x16 load(const float* from) const { return NEARLIGHT_LEVEL::load(from); }
  NEARLIGHT_MEMBER void store(float* to, const f32x16& v) const { NEARLIGHT_LEVEL::store(to, v); }
};

// Store past the caches what nobody reads soon: whole lines that need not be fetched first. `to` is where a line begins;
// streamed() follows before another thread may read them.
NEARLIGHT_INLINE void stream(float* to, const f32x16& v) {
#if defined(NEARLIGHT_AVX512)
  _mm512_stream_ps(to, v.part[0]);
#elif defined(NEARLIGHT_AVX2)
  for (int i = 0; i < kRegisters; i++) _mm256_stream_ps(to + 8 * i, v.part[i]);
#else
  store(to, v);
#endif
}

NEARLIGHT_INLINE void streamed() {
#if defined(NEARLIGHT_AVX512) || defined(NEARLIGHT_AVX2)
  _mm_sfence();
#endif
}

NEARLIGHT_INLINE bool begins_a_line(const float* at) { return reinterpret_cast<uintptr_t>(at) % 64 == 0; }

}  // namespace nearlight::NEARLIGHT_LEVEL
