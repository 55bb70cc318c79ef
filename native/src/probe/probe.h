// This machine's two ceilings, for a number of threads at the instruction level in use: how fast they read memory, and
// how fast they multiply. Everything that is said about a share of a limit is measured against these.
//
// Each is the best of many short windows. Whatever disturbs a window (another process, a clock not yet up) makes it
// slower and never faster, so the best is what the machine can do, and two runs agree as soon as each has one
// undisturbed window of a few milliseconds.
#pragma once

#include <cstddef>

#include "kernels.h"

namespace nearlight {

// Read a buffer of n_bytes on n_threads, each its own part, until `seconds` have brought no better window; return bytes
// per second. The buffer should be several times the last cache.
double probe_read(size_t n_bytes, int n_threads, double seconds);

// Multiply in registers on n_threads, as long likewise; return operations (an addition and a multiplication are two) per
// second of all threads together.
double probe_peak(DataType type, int n_threads, double seconds);

}  // namespace nearlight
