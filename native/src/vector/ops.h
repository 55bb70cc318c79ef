// What a level's sources define for its table; included by level sources only.
#pragma once

#include "../simd.h"
#include "kernels.h"

namespace nearlight::NEARLIGHT_LEVEL {

void rms_norm(const float* x, const float* weight, float* y, int64_t n_vectors, int64_t n, float eps);
void layer_norm(const float* x, const float* weight, const float* bias, float* y, int64_t n_vectors, int64_t n,
                float eps);
void rope_angles(const int32_t* positions, const float* frequencies, float magnitude, float* angles, int64_t n_rows,
                 int64_t half);
void rope(const float* x, const float* angles, float* y, int64_t n_rows, int64_t n_heads, int64_t head_dim,
          int64_t half, bool interleaved);
void add(const float* x, const float* y, float* out, int64_t n);
void add_scaled(const float* x, float scale, const float* y, float* out, int64_t n);
void multiply(const float* x, const float* y, float* out, int64_t n);
void squared_relu(const float* x, float* out, int64_t n);
void swiglu(const float* gate, const float* up, float* out, int64_t n);
void clamped_swiglu(const float* gate, const float* up, float* out, int64_t n, float alpha, float limit);
void sigmoid_gate(const float* x, const float* gate, float* out, int64_t n);
void geglu_erf(const float* gate, const float* up, float* out, int64_t n);
void geglu_tanh(const float* gate, const float* up, float* out, int64_t n);
void scale(const float* x, float factor, float* out, int64_t n);
void softcap(const float* x, float cap, float* out, int64_t n);
void gelu_erf(const float* x, float* out, int64_t n);
void gelu_tanh(const float* x, float* out, int64_t n);
void append(const KVLayout& layout, std::byte* const* segments, int64_t position, int64_t first, int64_t end,
            const float* k, const float* v);
void attend(const AttendTile& tile);
void attend_split(const AttendTile& tile, int64_t number, float* sums);
void merge_splits(const AttendTile& tile, float* sums);
void causal_conv(const ConvTile& tile);
void selective_scan(const ScanTile& tile);
void gated_delta_rule(const DeltaTile& tile);
void block_maxima(const float* scores, int64_t n, float* maxima);
int64_t scores_reaching(const float* scores, int64_t n, const float* maxima, float floor, int32_t* ids);
double sum_of_powers(const float* scores, int64_t n, float highest, float factor);

}  // namespace nearlight::NEARLIGHT_LEVEL
