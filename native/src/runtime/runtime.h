// What a kernel set holds: threads, the arena, and one lock, taken by whoever uses them.
#pragma once

#include <mutex>

#include "arena.h"
#include "pool.h"
#include "results.h"

namespace nearlight {

struct Runtime {
  explicit Runtime(int n_threads) : pool(n_threads) {}

  Pool pool;
  Arena arena;
  std::shared_ptr<Results> results = std::make_shared<Results>();
  Slabs slabs;        // where matrices lie
  Segments segments;  // where caches lie
  std::recursive_mutex mutex;  // held during a step; storage that a step reads is only changed while holding it
  bool stepping = false;       // whether a step is running: Python that it lets in must not begin another
};

}  // namespace nearlight
