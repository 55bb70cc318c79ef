// What the probes do on one thread: read memory, and multiply in registers. One table per instruction level.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nearlight {

// The ways in which matrices, and in attention keys and values, are multiplied; the names are those of the counting
// kernels ("fp32", "bf16", "int16", "int8").
enum class DataType : int { fp32, bf16, int16, int8 };
constexpr int kDataTypes = 4;

struct ProbeKernels {
  // Adds up n_bytes (a multiple of 512); the sum keeps the reads from being optimised away.
  uint64_t (*read)(const std::byte* data, size_t n_bytes);
  // Multiplies and adds in registers alone, `rounds` times; returns the operations that were done.
  double (*multiply[kDataTypes])(int64_t rounds);
};

namespace plain {
const ProbeKernels& probe_kernels();
}
#if defined(__x86_64__)
namespace avx2 {
const ProbeKernels& probe_kernels();
}
namespace avx512 {
const ProbeKernels& probe_kernels();
}
#endif

}  // namespace nearlight
