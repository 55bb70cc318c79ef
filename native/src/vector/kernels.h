// The operations on activations besides matrix products, one table of functions per instruction level.
//
// Each function computes what it is given and knows nothing of threads; whoever calls it (record/) gives every thread
// its rows or pieces. What holds for all: a result's bits depend on that row's inputs and the level alone, never on
// how rows or pieces were divided.
//
// Each level is the same sources compiled with its own flags, NEARLIGHT_LEVEL naming the namespace (see simd.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "../kv_layout.h"

namespace nearlight {

// Consecutive rows of one sequence, and the query heads that share one key head.
struct AttendTile {
  KVLayout layout;
  std::byte* const* segments;  // of the sequence
  int64_t kv_head;
  int64_t group;               // query heads to a key head
  int64_t n_rows;              // times group at most kMaxQueries
  const int32_t* positions;    // [n_rows], ascending
  const float* q;              // the first row's first query head of the group: [group * head_dim]
  float* out;                  // likewise
  int64_t row_stride;          // floats between rows of q, and of out
  float scale;
  float* scratch;              // attend_scratch_floats()
};

constexpr int64_t kMaxQueries = 64;  // of a tile: rows times query heads to a key head
constexpr int kStretchTokens = 128;  // tokens between two looks at the running maximum

// Scratch of a tile: queries, sums and scores.
[[gnu::always_inline]] constexpr int64_t attend_scratch_floats(const KVLayout& layout, int64_t n_queries) {
  return n_queries * (2 * layout.padded_dim() + kStretchTokens);
}

constexpr int64_t kScoreBlock = 256;  // scores whose maximum is noted

struct VectorKernels {
  // y = x / rms(x) * weight for n_vectors stretches of n values.
  void (*rms_norm)(const float* x, const float* weight, float* y, int64_t n_vectors, int64_t n, float eps);
  // y = (x - mean) / deviation * weight + bias, likewise.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float* y, int64_t n_vectors, int64_t n,
                     float eps);

  // angles[row] = cos then sin of position * frequency, times magnitude: [n_rows][2 * half].
  void (*rope_angles)(const int32_t* positions, const float* frequencies, float magnitude, float* angles,
                      int64_t n_rows, int64_t half);
  // Turns pairs (i, i + half) of every head by the row's angles; the rest of a head is copied.
  void (*rope)(const float* x, const float* angles, float* y, int64_t n_rows, int64_t n_heads, int64_t head_dim,
               int64_t half);

  // Element by element.
  void (*add)(const float* x, const float* y, float* out, int64_t n);
  void (*swiglu)(const float* gate, const float* up, float* out, int64_t n);
  void (*gelu_erf)(const float* x, float* out, int64_t n);
  void (*gelu_tanh)(const float* x, float* out, int64_t n);

  // Writes one token's key and value of every head, [n_kv_heads][head_dim] each, at its position.
  void (*keep)(const KVLayout& layout, std::byte* const* segments, int64_t position, const float* k, const float* v);
  // Attends causally over the cache: out = softmax(scale * q . keys) . values, over positions 0 .. a row's own.
  void (*attend)(const AttendTile& tile);

  // For sampling: scores are n floats, `highest` is the largest of them. These three give the same bits at all levels.
  // maxima[i] = the largest of the i-th kScoreBlock scores, NaN if one of them is.
  void (*block_maxima)(const float* scores, int64_t n, float* maxima);
  // Puts the indices of scores >= floor into ids, ascending, and returns how many there are. It needs room for
  // every score of the blocks whose maximum is one of them.
  int64_t (*scores_reaching)(const float* scores, int64_t n, const float* maxima, float floor, int32_t* ids);
  // The sum of 2^(factor * (score - highest)), where scores below 2^-126 count nothing; factor is positive and finite.
  double (*sum_of_powers)(const float* scores, int64_t n, float highest, float factor);
};

namespace plain {
const VectorKernels& vector_kernels();
}
#if defined(__x86_64__)
namespace avx2 {
const VectorKernels& vector_kernels();
}
namespace avx512 {
const VectorKernels& vector_kernels();
}
#endif

}  // namespace nearlight
