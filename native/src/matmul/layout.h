// How a packed matrix lies in memory.
//
// Quantized formats. Sixteen output rows form a tile. Their codes, unsigned and of `low_bits + high_bits` bits, come in
// blocks of 32 inputs, and a block is a run of 64-byte vectors, one vector per step of four inputs when unpacked:
//
//     lane (output row)      0          1                15
//     vector j            | k k k k | k k k k | .. | k k k k |     k = inputs 4j .. 4j+3 of the block, j = 0 .. 7
//
//     low plane, 8 bits   8 vectors: vector j as drawn
//                4 bits   4 vectors: vector p holds j = p in the low nibbles and j = p + 4 in the high ones
//                2 bits   2 vectors: vector q holds j = q + 2t at bits 2t, t = 0 .. 3
//     high plane, 2 bits  2 vectors, as above
//                 1 bit   1 vector: j at bit j
//
// Scales lie apart, so that code loads stay aligned: per stored block (32 or 256 inputs) first `n_bytes` rows of 16
// bytes, then `n_halves` rows of 16 f16, a lane each. These are the stored bits in the stored two-level form, only
// transposed; a K-quant's 6-bit sub-scales are opened in registers (scales.h). Every bit of a file has one place here,
// so a packed matrix is exactly as large as a stored one of whole tiles.
//
//     matrix   | tile 0 codes | tile 1 codes | ..        | tile 0 scales | tile 1 scales | ..
//     tile     | block 0 | block 1 | ..                  | stored block 0 | stored block 1 | ..
//     block    | low plane | high plane |                | bytes [n_bytes][16] | halves [n_halves][16] |
//
// Float formats have no scales, and codes are the values. Four tiles lie interleaved, so that a kernel which computes
// them together reads one stream and no four: F32 and F16 [n_in][4 tiles][16], BF16 [pairs][4 tiles][16][2], as its dot
// product instruction wants them (an odd n_in is padded with a zero). The last group may have fewer tiles.
//
// A view is some of the tiles, where they lie. So it begins at a tile (in float formats at a group), and ends anywhere.
//
// Cost: decoding one token reads the matrix once, so bytes are time; multiplying many rows opens each block once.
#pragma once

#include "../matmul.h"

namespace nearlight {

constexpr int kBlock = 32;  // inputs that share an activation scale, and the step of all integer kernels

constexpr int kMins = -1;

struct Layout {
  int stored_block;  // inputs in a stored block
  int low_bits, high_bits;
  int n_bytes, n_halves;  // scale fields of a stored block
  int zero_shift;         // weight = scale * (code - (1 << zero_shift)); kMins: scale * code - min
  int groups;             // with a scale, in 32 inputs: 1 or 2
  constexpr int stored_bytes() const { return stored_block * (low_bits + high_bits) / 8 + scale_bytes(); }
  constexpr int scale_bytes() const { return n_bytes + 2 * n_halves; }
  constexpr int low_vectors() const { return low_bits; }    // of 64 bytes, per 32 inputs
  constexpr int high_vectors() const { return high_bits; }
  constexpr int block_vectors() const { return low_bits + high_bits; }
};

constexpr Layout kLayouts[] = {
    {1, 32, 0, 0, 0, 0, 1},        // F32
    {1, 16, 0, 0, 0, 0, 1},        // F16
    {1, 16, 0, 0, 0, 0, 1},        // BF16
    {32, 8, 0, 0, 1, 7, 1},        // Q8_0: d
    {32, 4, 0, 0, 1, 3, 1},        // Q4_0: d
    {32, 4, 0, 0, 2, kMins, 1},    // Q4_1: d, -m
    {32, 4, 1, 0, 1, 4, 1},        // Q5_0: d
    {32, 4, 1, 0, 2, kMins, 1},    // Q5_1: d, -m
    {256, 2, 0, 16, 2, kMins, 2},  // Q2_K: scale and min of 4 bits each; d, dmin
    {256, 2, 1, 12, 1, 2, 2},      // Q3_K: 6-bit scales; d
    {256, 4, 0, 12, 2, kMins, 1},  // Q4_K: 6-bit scales and mins; d, dmin
    {256, 4, 1, 12, 2, kMins, 1},  // Q5_K: the same
    {256, 4, 2, 16, 1, 5, 2},      // Q6_K: 8-bit scales; d
    {32, 4, 0, 0, 1, 7, 1},        // IQ4_NL: d
    {256, 4, 0, 6, 1, 7, 1},       // IQ4_XS: 6-bit scales; d
    {32, 4, 0, 1, 0, 4, 1},        // MXFP4: exponent
    {32, 4, 0, 1, 1, kMins, 1},    // W4G32: zero point; d
    {64, 4, 0, 1, 1, kMins, 1},    // W4G64
    {128, 4, 0, 1, 1, kMins, 1},   // W4G128
    {32, 8, 0, 1, 1, kMins, 1},    // W8G32
    {64, 8, 0, 1, 1, kMins, 1},    // W8G64
    {128, 8, 0, 1, 1, kMins, 1},   // W8G128
};
static_assert(sizeof(kLayouts) / sizeof(kLayouts[0]) == kFormats);

constexpr const Layout& layout_of(Format format) { return kLayouts[static_cast<int>(format)]; }
constexpr bool is_float(Format format) { return format <= Format::BF16; }
constexpr bool is_int8(Form form) { return form.coding == Coding::int8; }

static_assert(layout_of(Format::Q8_0).stored_bytes() == 34 && layout_of(Format::Q4_0).stored_bytes() == 18);
static_assert(layout_of(Format::Q4_1).stored_bytes() == 20 && layout_of(Format::Q5_0).stored_bytes() == 22);
static_assert(layout_of(Format::Q5_1).stored_bytes() == 24 && layout_of(Format::Q2_K).stored_bytes() == 84);
static_assert(layout_of(Format::Q3_K).stored_bytes() == 110 && layout_of(Format::Q4_K).stored_bytes() == 144);
static_assert(layout_of(Format::Q5_K).stored_bytes() == 176 && layout_of(Format::Q6_K).stored_bytes() == 210);
static_assert(layout_of(Format::IQ4_NL).stored_bytes() == 18 && layout_of(Format::IQ4_XS).stored_bytes() == 136);
static_assert(layout_of(Format::MXFP4).stored_bytes() == 17 && layout_of(Format::F32).stored_bytes() == 4);
static_assert(layout_of(Format::W4G32).stored_bytes() == 19 && layout_of(Format::W8G128).stored_bytes() == 131);

constexpr int kFloatGroup = 4;  // interleaved tiles of a float format

// Tiles in the group of this one, also those beyond a view's end.
constexpr int64_t float_group(const Matrix& m, int64_t tile) {
  const int64_t left = m.packed_tiles - m.first_tile - tile / kFloatGroup * kFloatGroup;
  return left < kFloatGroup ? left : kFloatGroup;
}

// Where a tile's values of a step over the inputs lie; the next step's follow float_group(m, tile) * step_bytes later.
inline const uint8_t* float_step(const Matrix& m, int64_t tile, int64_t step, int64_t step_bytes) {
  const int64_t place = tile % kFloatGroup;
  return m.codes(tile - place) + (step * float_group(m, tile) + place) * step_bytes;
}

// Mantissa bits of the scales of activations that meet a format (group.h says why not all 23 of a float). Rounding a scale
// up to 4 bits adds 1 to 3 % to the error of products, to one bit 23 %. Weights of 8 bits have no errors to hide that
// behind. With blocks of 256 others have one scale for all 256 activations, whose errors are 30 % larger and more.
constexpr int scale_bits(Format format) {
  const Layout& layout = layout_of(format);
  return layout.low_bits == 8 ? kAnyScale : layout.stored_block == 256 ? 1 : 4;
}

// Quantized activations, for n_rows rows in panels (Panels below) and chunks of chunk_blocks blocks of 32 inputs (the
// last may be shorter): [chunk][panel][block], and in a block, for a panel of R rows,
//
//     f32    float [32][R]
//     bf16   bf16 [16][R][2]
//     int8   codes [8][R][4], scale [R], starts [groups][R]
//
// so that a kernel walks one pointer through a chunk and finds every row at a constant distance. Input = scale * code,
// and the scale is a float; but one of few bits is 2^e * (1 + i / 2^scale_bits), and written as the float 1.5 * 2^(23 + e)
// with i in its last bits. An integer added to these bits makes the float larger by that integer times 2^e. So sums of
// products begin as these bits, and are, less this float, scaled floats but for 1 + i / 2^scale_bits.
//
// A start is what a group's sum of products begins with: minus the sum of its codes times the weights' zero point, and
// for scales of few bits those bits. With mins it is a float: minus the sum of its codes, for scales of few bits times
// the scale.
constexpr size_t activation_bytes(Form form) {  // of a block and a row
  return is_int8(form) ? kBlock + 4 + 4 * static_cast<size_t>(form.groups) : form.coding == Coding::f32 ? 4 * kBlock : 2 * kBlock;
}

// Fewer rows than this multiply the weights' scales by 1 + i / 2^scale_bits themselves: making all multiples ahead would
// take longer, unless they are two.
constexpr int64_t kRowsForMultiples = 40;

constexpr bool makes_multiples(int scale_bits, int64_t n_rows) {
  return scale_bits < kAnyScale && (scale_bits <= 1 || n_rows >= kRowsForMultiples);
}

// Blocks that are multiplied at a time, within a 32 kB cache. Opened codes of two tiles take 16 kB, or 8 where many
// multiples of the weights' scales lie beside them.
constexpr int64_t chunk_blocks(Form form, int64_t n_rows) {
  return is_int8(form) && form.scale_bits > 1 && makes_multiples(form.scale_bits, n_rows) ? 8 : 16;
}

constexpr int64_t n_blocks(int64_t n_in) { return (n_in + kBlock - 1) / kBlock; }

// Where the activations of block `first`, which begins a chunk of n, lie for the panel of `row`.
constexpr size_t activations_at(Form form, int64_t n_rows, int64_t row, int64_t first, int64_t n) {
  return static_cast<size_t>(first * n_rows + n * row) * activation_bytes(form);
}

}  // namespace nearlight
