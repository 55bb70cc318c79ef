// Which instructions this processor has, and the kernels compiled for them.
//
//     plain    C++ for the processor family's baseline; all that other families than x86-64 get
//     avx2     AVX2, FMA, F16C                          (Haswell 2013, Zen 2017)
//     avx512   AVX-512 F BW DQ VL, VNNI, BF16, VBMI     (Cooper/Sapphire Rapids, Zen 4)
//
// The best level is chosen when first asked for; the environment variable NEARLIGHT_ISA names another.
#pragma once

#include <string>
#include <vector>

#include "matmul.h"
#include "probe/kernels.h"
#include "vector/kernels.h"

namespace nearlight {

struct Level {
  const char* name;
  const VectorKernels* vector;
  const MatmulKernels* matmul;
  const ProbeKernels* probe;
};

// Every level this build has and this processor can run, the best last.
std::vector<Level> usable_levels();

// The level in use. Raises std::invalid_argument when NEARLIGHT_ISA names one that cannot be used here.
const Level& level();

}  // namespace nearlight
