// How fast these threads can read memory: the limit that decoding is measured against.
#pragma once

#include <cstddef>

namespace nearlight {

// Read a buffer of n_bytes on n_threads, each its own part, and return the best pass's bytes per second. The buffer
// should be several times the last cache; the passes together take about 0.2 s.
double probe_read(size_t n_bytes, int n_threads);

}  // namespace nearlight
