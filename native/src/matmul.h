// Matrix products on the weights' own bits.
//
// A matrix [n_out, n_in] is repacked once, at load, into tiles of 16 output rows, a vector lane each, so that no
// kernel ever needs a horizontal sum. Activations are prepared once per step and input in the form the matrix wants
// (float, bfloat16, or int8 with scales), and may then be multiplied with several matrices.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nearlight {

// Names and numbers follow nearlight.dtypes.ALL, by which the Python side chooses.
enum class Format : int { F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4 };

// What the activations look like to a kernel.
enum class Form : int { f32, bf16, int8 };

constexpr int kLanes = 16;  // output rows in a tile

struct Matrix {
  Format format;
  Form form;
  int64_t n_out, n_in;
  int64_t n_tiles;         // ceil(n_out / kLanes)
  size_t tile_bytes;       // bytes of one packed tile
  uint8_t* data;           // [n_tiles][tile_bytes], 64-byte aligned, owned
  size_t n_bytes() const { return static_cast<size_t>(n_tiles) * tile_bytes; }
};

}  // namespace nearlight
