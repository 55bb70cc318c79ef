// The operations on activations besides matrix products, one table of functions per instruction level.
//
// Each function computes what it is given and knows nothing of threads; whoever calls it (record/) gives every thread
// its rows or pieces. What holds for all: a result's bits depend on that row's inputs and the level alone, never on
// how rows or pieces were divided.
//
// Each level is the same sources compiled with its own flags, NEARLIGHT_LEVEL naming the namespace (see simd.h).
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

#include "../kv_layout.h"

namespace nearlight {

// What a row sees: the last `size` tokens, its own among them, or, of stretches of `size` side by side, its own as far
// as itself.
struct Window {
  int64_t size;
  bool chunked = false;

  [[gnu::always_inline]] constexpr int64_t first_token(int64_t position) const {
    if (chunked) return position / size * size;
    return position < size ? 0 : position - size + 1;
  }
  auto operator<=>(const Window&) const = default;
};

// Consecutive rows of one sequence, and the query heads that share one key head.
//
// Split-KV: a row's tokens are taken in splits of `split_tokens`, from multiples of that on. Every split has a maximum,
// a total and sums of its own, and they are merged in ascending order: so splits can be given to several threads, and
// the result's bits do not depend on whether they were.
// Source: Flash-Decoding (Dao et al. 2023).
struct AttendTile {
  KVLayout layout;
  std::byte* const* segments;  // of the sequence
  int64_t kv_head;
  int64_t group;               // query heads to a key head
  int64_t n_rows;              // times group at most kMaxQueries
  const int32_t* positions;    // [n_rows], ascending
  int64_t split_tokens;        // the same for all rows
  int64_t first_split;         // the first of which some row sees something
  int64_t n_splits;            // up to the last
  const float* q;              // the first row's first query head of the group: [group * head_dim]
  float* out;                  // likewise
  int64_t row_stride;          // floats between rows of q, and of out
  float scale;
  Window window;
  float softcap;               // scores become softcap * tanh(score / softcap); 0: they stay
  const float* sinks;          // [group], a logit more in each head's denominator; or null
  float* scratch;              // attend_scratch_floats()

  [[gnu::always_inline]] int64_t first_token(int64_t row) const { return window.first_token(positions[row]); }
};

constexpr int64_t kMaxQueries = 64;  // of a tile: rows times query heads to a key head

// Splits are at least this long, and for many tokens so long that a row sees 16 at most. A window may begin and end
// within one, and the rows of a tile are a little apart: two more.
constexpr int64_t kLeastSplitTokens = 512, kMostSplits = 18;

// Tokens of a split of a row that sees n tokens.
[[gnu::always_inline]] constexpr int64_t split_tokens(int64_t n) {
  int64_t tokens = kLeastSplitTokens;
  while (n > 16 * tokens) tokens *= 2;
  return tokens;
}

// What a split of a tile leaves: sums, maxima, totals.
[[gnu::always_inline]] constexpr int64_t attend_split_floats(const KVLayout& layout, int64_t n_queries) {
  return n_queries * (layout.padded_dim() + 2);
}

// Scratch of a tile: two splits; queries, scores, weights; what begins on a cache line.
[[gnu::always_inline]] constexpr int64_t attend_scratch_floats(const KVLayout& layout, int64_t n_queries) {
  const int64_t padded = layout.padded_dim();
  const int64_t floats = n_queries * (3 * padded + 2 * kStretchTokens + 4) + padded + 256;
  return (floats + 15) / 16 * 16;  // every thread's begins on a cache line
}

// Rows of one sequence and up to 16 channels of a convolution; arrays by lane have 16 floats, whatever n_lanes is.
struct ConvTile {
  int64_t n_rows, n_lanes, n_taps;
  bool silu;             // of the sums
  const float* x;        // the first row's first channel
  float* out;            // likewise
  int64_t stride;        // floats between rows of x, and of out
  const float* factors;  // [n_taps][16], the last for the row itself
  const float* bias;     // [16]
  const float* state;    // [n_taps - 1][n_lanes], the inputs before
  float* next;           // what the state will be
};

// Rows of one sequence and up to 16 channels of a scan, all of one group.
struct ScanTile {
  int64_t n_rows, n_lanes, state_size;
  int64_t n_decays;                  // of a channel: state_size, or 1 for all of its state
  int64_t first_channel, head_size;  // channel i belongs to head i / head_size
  const float* x;                    // the first row's first channel
  float* out;                        // likewise
  int64_t stride;
  const float* steps;                // [n_rows][heads], before softplus
  int64_t steps_stride;
  const float *b, *c;                // [n_rows][state_size] of the group
  int64_t b_stride;                  // of both
  const float* decays;               // [n_decays][16], in units of ln 2
  const float *skips, *step_biases;  // [16]
  const float* state;                // [state_size][n_lanes]
  float* next;
};

// Rows of one sequence and up to kDeltaChannels channels of one head of a gated delta rule.
struct DeltaTile {
  int64_t n_rows, n_lanes, key_dim;
  const float *q, *k;   // the first row's of the head, [key_dim]
  int64_t key_stride;   // floats between rows of both
  const float* v;       // the first row's first channel
  float* out;           // likewise
  int64_t stride;
  const float *a, *b;   // the first row's of the head
  int64_t gate_stride;
  float rate, bias;     // a decay is 2^(rate * softplus(a + bias)), rate being negative
  float scale;          // of out
  const float* state;   // [key_dim][n_lanes]
  float* next;
};

constexpr int64_t kDeltaChannels = 32;  // whose states of 128 dimensions take half of a first cache of 32 kB

constexpr int64_t kScoreBlock = 256;  // scores whose maximum is noted

struct VectorKernels {
  // y = x / rms(x) * weight for n_vectors of n values each; weight may be null.
  void (*rms_norm)(const float* x, const float* weight, float* y, int64_t n_vectors, int64_t n, float eps);
  // y = (x - mean) / deviation * weight + bias, likewise.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float* y, int64_t n_vectors, int64_t n,
                     float eps);

  // angles[row] = cos then sin of position * frequency, times magnitude: [n_rows][2 * half].
  void (*rope_angles)(const int32_t* positions, const float* frequencies, float magnitude, float* angles,
                      int64_t n_rows, int64_t half);
  // Turns pairs (i, i + half) of every head by the row's angles; the rest of a head is copied.
  void (*rope)(const float* x, const float* angles, float* y, int64_t n_rows, int64_t n_heads, int64_t head_dim,
               int64_t half, bool interleaved);

  // Element by element.
  void (*add)(const float* x, const float* y, float* out, int64_t n);
  void (*add_scaled)(const float* x, float scale, const float* y, float* out, int64_t n);  // x + scale * y
  void (*multiply)(const float* x, const float* y, float* out, int64_t n);
  void (*squared_relu)(const float* x, float* out, int64_t n);
  void (*swiglu)(const float* gate, const float* up, float* out, int64_t n);
  // min(gate, limit) * logistic(alpha * that) * (up within the limits + 1)
  void (*clamped_swiglu)(const float* gate, const float* up, float* out, int64_t n, float alpha, float limit);
  void (*sigmoid_gate)(const float* x, const float* gate, float* out, int64_t n);  // x * logistic(gate)
  void (*geglu_erf)(const float* gate, const float* up, float* out, int64_t n);
  void (*geglu_tanh)(const float* gate, const float* up, float* out, int64_t n);
  void (*scale)(const float* x, float factor, float* out, int64_t n);
  void (*softcap)(const float* x, float cap, float* out, int64_t n);
  void (*gelu_erf)(const float* x, float* out, int64_t n);
  void (*gelu_tanh)(const float* x, float* out, int64_t n);

  // Writes one token's keys and values of heads first … end-1, from [n_kv_heads][head_dim] each, at its position.
  void (*append)(const KVLayout& layout, std::byte* const* segments, int64_t position, int64_t first, int64_t end,
                 const float* k, const float* v);
  // Attends causally over the cache: out = softmax(scale * q . keys) . values, over the tokens that each row sees.
  void (*attend)(const AttendTile& tile);
  // The same in two steps: one split, into attend_split_floats() at `sums`; and those of all splits to the result.
  void (*attend_split)(const AttendTile& tile, int64_t number, float* sums);
  void (*merge_splits)(const AttendTile& tile, float* sums);

  // Recurrences; what they mean is in kernels/ops.py.
  void (*causal_conv)(const ConvTile& tile);
  void (*selective_scan)(const ScanTile& tile);
  void (*gated_delta_rule)(const DeltaTile& tile);

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
