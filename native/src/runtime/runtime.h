// What a kernel set holds: threads, the arena, and one lock, taken by whoever uses them.
#pragma once

#include <mutex>

#include "arena.h"
#include "pool.h"

namespace nearlight {

struct Runtime {
  explicit Runtime(int n_threads) : pool(n_threads) {}

  Pool pool;
  Arena arena;
  Slabs slabs;  // where matrices lie
  std::recursive_mutex mutex;  // held during a step; storage that a step reads is only changed while holding it
};

}  // namespace nearlight
