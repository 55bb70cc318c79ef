// Matrix products on the weights' own bits: y[r, o] = sum_k x[r, k] * weight[o, k] + bias[o].
//
// A matrix [n_out, n_in] is repacked once, at load, into tiles of 16 output rows, a vector lane each, so that no
// kernel ever needs a horizontal sum; the packed form is as large as the stored one and the same for every
// instruction level (matmul/layout.h has the picture). Activations are quantized once per step in the form the matrix
// wants (int8 with scales; bfloat16 or float for float weights) and may then meet several matrices.
//
//     const MatmulKernels& kernels = avx512::matmul_kernels();         // level.h chooses
//     Matrix m = describe(Format::Q4_K, n_out, n_in);                  // sizes only
//     m.data = <m.n_bytes() bytes, 64-byte aligned>;
//     pack(m, rows, row_stride, tile_begin, tile_end);                 // on each thread other tiles
//     Form form = kernels.form(m.format);
//     kernels.quantize(form, x, ldx, n_rows, n_in, quantized, 0, n_rows);     // or some rows each; then a barrier
//     kernels.multiply(m, quantized, n_rows, bias, y, ldy, tile_begin, tile_end);
//
// What holds for every kernel: the bits of y[r, o] depend on x[r, :], weight[o, :], bias[o] and the level alone; not on
// n_rows, on how tiles are divided among threads, on whether it is a view, or on the other rows. So a prompt in chunks
// equals the same prompt token by token, bit for bit.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace nearlight {

// Names and numbers follow nearlight.dtypes.ALL, by which the Python side chooses.
enum class Format : int {
  F32, F16, BF16,
  Q8_0, Q4_0, Q4_1, Q5_0, Q5_1,
  Q2_K, Q3_K, Q4_K, Q5_K, Q6_K,
  IQ4_NL, IQ4_XS, MXFP4,
  W4G32, W4G64, W4G128, W8G32, W8G64, W8G128,
};
constexpr int kFormats = static_cast<int>(Format::W8G128) + 1;

// What the activations look like to a kernel: floats, or int8 codes with a scale per 32 inputs.
enum class Coding : int { f32, bf16, int8 };

constexpr int kAnyScale = 23;  // all the bits a float's mantissa has

// Scales of int8 codes have so many bits of mantissa. Sums of codes come as the matrix wants them: times its zero
// point or as they are, of all 32 inputs or of 16 each (matmul/layout.h).
struct Form {
  Coding coding;
  int scale_bits = kAnyScale, zero_shift = 0, groups = 0;

  auto operator<=>(const Form&) const = default;
};

constexpr int kLanes = 16;  // output rows in a tile

// A packed matrix, or a view of some of its output rows; whoever sets `data` owns it.
struct Matrix {
  Format format;
  int64_t n_out, n_in;
  int64_t n_tiles;         // ceil(n_out / kLanes)
  size_t tile_codes;       // bytes of one tile's codes, a multiple of 64 (in float formats: the weights)
  size_t tile_scales;      // bytes of one tile's scales
  uint8_t* data;           // [packed_tiles][tile_codes] then [packed_tiles][tile_scales]; 64-byte aligned
  int64_t packed_tiles;    // of the whole matrix: n_tiles, and more for a view
  int64_t first_tile;      // the view's first of these, else 0

  size_t n_bytes() const { return static_cast<size_t>(n_tiles) * (tile_codes + tile_scales); }
  const uint8_t* codes(int64_t tile) const { return data + static_cast<size_t>(first_tile + tile) * tile_codes; }
  const uint8_t* scales(int64_t tile) const {
    const auto all_codes = static_cast<size_t>(packed_tiles) * tile_codes;
    return data + all_codes + static_cast<size_t>(first_tile + tile) * tile_scales;
  }
};

// Bytes of a stored row of n_in values; the last block may be partly filled (with zeros).
size_t stored_row_bytes(Format format, int64_t n_in);

// Sizes of a packed matrix, `data` left null. n_bytes() is 16 * n_tiles stored rows exactly (BF16: of even length).
Matrix describe(Format format, int64_t n_out, int64_t n_in);

// The rows first_row .. end_row-1 of a packed matrix, where they lie: products and lookups take it like any other, and
// give the same bits. `first_row` is a multiple of view_granularity: kernels take whole tiles, of float formats in
// groups of four.
Matrix view(const Matrix& matrix, int64_t first_row, int64_t end_row);
int64_t view_granularity(Format format);

// Repacks stored rows that lie row_stride bytes apart, the first being tile_begin's first, into tiles tile_begin ..
// tile_end-1; lanes past n_out become zeros. Returns -1, or the number in the matrix of the first of these rows with a
// scale that is not finite (packed all the same).
int64_t pack(const Matrix& matrix, const uint8_t* rows, size_t row_stride, int64_t tile_begin, int64_t tile_end);

// Writes weight[row, :] as n_in floats.
void dequantize_row(const Matrix& matrix, int64_t row, float* out);
// The same of a row as it is stored, stored_row_bytes() long: for tables that are looked up in and never packed.
void dequantize_stored_row(Format format, const uint8_t* stored, int64_t n_in, float* out);

// Bytes of quantized activations, to be 64-byte aligned; the same for every level. Grows with n_rows.
size_t quantized_bytes(Form form, int64_t n_rows, int64_t n_in);

// One instruction level's kernels.
struct MatmulKernels {
  // The form of activations that a matrix of this format is multiplied with.
  Form (*form)(Format format);

  // Converts rows row_begin .. row_end-1 of x[n_rows, n_in], rows ldx floats apart. All must be done before multiply.
  void (*quantize)(Form form, const float* x, int64_t ldx, int64_t n_rows, int64_t n_in, void* quantized,
                   int64_t row_begin, int64_t row_end);

  // Computes the output columns of tiles tile_begin .. tile_end-1 for all rows: y[r * ldy + o]. bias may be null.
  // Quantized tiles are taken in pairs, float ones in their groups of four: ranges that begin and end with those waste
  // nothing, others must not begin inside a group.
  void (*multiply)(const Matrix& matrix, const void* quantized, int64_t n_rows, const float* bias, float* y,
                   int64_t ldy, int64_t tile_begin, int64_t tile_end);
};

// Each level is the same source (matmul/level.cpp), compiled with its own flags and NEARLIGHT_LEVEL as its namespace.
namespace plain {
const MatmulKernels& matmul_kernels();
}
#if defined(__x86_64__)
namespace avx2 {
const MatmulKernels& matmul_kernels();
}
namespace avx512 {
const MatmulKernels& matmul_kernels();
}
#endif

}  // namespace nearlight
