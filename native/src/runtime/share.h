// Dividing work among threads: equal consecutive shares.
#pragma once

#include <cstdint>

namespace nearlight {

struct Share {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// The part of n equal pieces of work that falls to one of n_threads. Two commands over the same n give a thread the
// same pieces, which is what lets a chain of row-wise commands run without barriers (see tape.h). The first threads get
// the larger shares: a single piece falls to thread 0, the caller, who is surely awake.
inline Share share(int64_t n, int thread, int n_threads) {
  return {(n * thread + n_threads - 1) / n_threads, (n * (thread + 1) + n_threads - 1) / n_threads};
}

}  // namespace nearlight
