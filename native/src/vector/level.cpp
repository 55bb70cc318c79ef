// One level's table; compiled once per level.
#include "ops.h"

namespace nearlight::NEARLIGHT_LEVEL {

const VectorKernels& vector_kernels() {
  static constexpr VectorKernels kernels{rms_norm, layer_norm, rope_angles, rope,        add,
                                         add_scaled, multiply, squared_relu, swiglu, clamped_swiglu, sigmoid_gate, geglu_erf, geglu_tanh, scale, softcap, gelu_erf, gelu_tanh, append,      attend,
                                         attend_split, merge_splits, causal_conv, selective_scan, gated_delta_rule, block_maxima, scores_reaching, sum_of_powers};
  return kernels;
}

}  // namespace nearlight::NEARLIGHT_LEVEL
