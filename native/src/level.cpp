// See level.h. Compiled without any special instructions, as it runs before they are known.
#include "level.h"

#include <cstdlib>
#include <stdexcept>

namespace nearlight {
namespace {

Level choose() {
  const auto usable = usable_levels();
  const char* wanted = std::getenv("NEARLIGHT_ISA");
  if (!wanted || !*wanted) return usable.back();
  std::string names;
  for (const Level& candidate : usable) {
    if (candidate.name == std::string(wanted)) return candidate;
    names += (names.empty() ? "" : ", ") + std::string(candidate.name);
  }
  throw std::invalid_argument("NEARLIGHT_ISA: expected one of " + names + " on this processor, found " + wanted);
}

}  // namespace

std::vector<Level> usable_levels() {
  std::vector<Level> levels{{"plain", &plain::vector_kernels(), &plain::matmul_kernels(), &plain::probe_kernels()}};
#if defined(NEARLIGHT_X86_LEVELS)
  // These tests also ask whether the operating system saves the wide registers. F16C came before AVX2 in every
  // processor, and Clang 14 cannot ask for it.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    levels.push_back({"avx2", &avx2::vector_kernels(), &avx2::matmul_kernels(), &avx2::probe_kernels()});
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") &&
        __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi")) {
      levels.push_back({"avx512", &avx512::vector_kernels(), &avx512::matmul_kernels(), &avx512::probe_kernels()});
    }
  }
#endif
  return levels;
}

const Level& level() {
  static const Level chosen = choose();
  return chosen;
}

}  // namespace nearlight
