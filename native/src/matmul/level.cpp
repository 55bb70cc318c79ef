// The table of one instruction level; compiled once per level (simd.h says how).
#include "floats.h"
#include "gemm.h"
#include "gemv.h"
#include "quantize.h"

namespace nearlight::NEARLIGHT_LEVEL {
namespace {

template <Format F>
void multiply_quantized(const Matrix& m, const uint8_t* quantized, int64_t n_rows, const Output& out,
                        int64_t tile_begin, int64_t tile_end) {
  using Gemv = void (*)(const Matrix&, const uint8_t*, const Output&, int64_t, int64_t);
  using K = KindOf<F>;
  static constexpr auto kernels = []<int... r>(std::integer_sequence<int, r...>) {
    return Table<Gemv, sizeof...(r)>{{gemv<F, r + 1>...}};
  }(std::make_integer_sequence<int, most_alone(K::kForm)>{});
  if (n_rows <= most_alone(K::kForm)) {
    kernels.at[n_rows - 1](m, quantized, out, tile_begin, tile_end);
  } else if (n_rows < kRowsForMultiples) {
    gemm<F, makes_multiples(K::kScaleBits, 0)>(m, quantized, n_rows, out, tile_begin, tile_end);
  } else {
    gemm<F, makes_multiples(K::kScaleBits, kRowsForMultiples)>(m, quantized, n_rows, out, tile_begin, tile_end);
  }
}

template <Format F>
void multiply_format(const Matrix& m, const uint8_t* quantized, int64_t n_rows, const Output& out, int64_t tile_begin,
                     int64_t tile_end) {
  if constexpr (is_float(F)) {
    multiply_floats<F>(m, quantized, n_rows, out, tile_begin, tile_end);
  } else {
    multiply_quantized<F>(m, quantized, n_rows, out, tile_begin, tile_end);
  }
}

void multiply(const Matrix& m, const void* quantized, int64_t n_rows, const float* bias, float* y, int64_t ldy,
              int64_t tile_begin, int64_t tile_end) {
  using Multiply = void (*)(const Matrix&, const uint8_t*, int64_t, const Output&, int64_t, int64_t);
  static constexpr auto formats = []<int... f>(std::integer_sequence<int, f...>) {
    return Table<Multiply, kFormats>{{multiply_format<static_cast<Format>(f)>...}};
  }(std::make_integer_sequence<int, kFormats>{});
  const Output out{y, ldy, m.n_out, bias};
  if (n_rows < 1) return;
  formats.at[static_cast<int>(m.format)](m, static_cast<const uint8_t*>(quantized), n_rows, out, tile_begin, tile_end);
}

Form form(Format format) { return form_of(format); }

constexpr MatmulKernels kKernels{form, quantize, multiply};

}  // namespace

const MatmulKernels& matmul_kernels() { return kKernels; }

}  // namespace nearlight::NEARLIGHT_LEVEL
