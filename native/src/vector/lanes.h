// Up to 16 values from memory that has no more.
#pragma once

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

// All 16.
struct AllLanes {
  static constexpr int n = 16;
  NEARLIGHT_MEMBER f32x16 load(const float* from) const { return NEARLIGHT_LEVEL::load(from); }
  NEARLIGHT_MEMBER void store(float* to, const f32x16& v) const { NEARLIGHT_LEVEL::store(to, v); }
};

}  // namespace nearlight::NEARLIGHT_LEVEL
