// One level's probe kernels; compiled once per level (simd.h says how).
//
// A peak is that of the instructions which the matrix kernels of this level multiply with, and of nothing else: chains
// of them that do not wait for one another, as many as keep every multiplier busy and still fit in registers. Where a
// level multiplies bfloat16 as floats, that is its peak too.
#include "../dots.h"
#include "kernels.h"

namespace nearlight::NEARLIGHT_LEVEL {
namespace {

// An addition takes four or five cycles and two can start in each, so about ten native registers of sums.
constexpr int kChains = kRegisters == 1 ? 12 : kRegisters == 2 ? 5 : 2;
constexpr int kSteps = 8;  // of every chain in a round

// Makes the compiler believe that a vector has changed, at no cost: or it would multiply once for all chains.
template <typename T>
NEARLIGHT_INLINE void touch(Vec<T>& v) {
  for (int i = 0; i < kRegisters; i++) {
#if defined(__AVX512F__)
    asm volatile("" : "+v"(v.part[i]));
#elif defined(__x86_64__)
    asm volatile("" : "+x"(v.part[i]));
#elif defined(__aarch64__)
    asm volatile("" : "+w"(v.part[i]));
#else
    asm volatile("" : "+m"(v.part[i]));
#endif
  }
}

struct Fp32 {
  using Sum = f32x16;
  static constexpr double kOperations = 2 * 16;
  f32x16 a = broadcast(1.5f), b = broadcast(-0.25f);
  NEARLIGHT_MEMBER void freshen() { touch(a); }
  NEARLIGHT_MEMBER Sum add(const Sum& acc) const { return fma(a, b, acc); }
};

struct Int16 {
  using Sum = i32x16;
  static constexpr double kOperations = 2 * 32;
  s16x32 a = broadcast<int16_t>(0x53), b = broadcast<int16_t>(-0x35);
  NEARLIGHT_MEMBER void freshen() { touch(a); }
  NEARLIGHT_MEMBER Sum add(const Sum& acc) const { return dot2(acc, a, b); }
};

struct Int8 {
  using Sum = i32x16;
  static constexpr double kOperations = 2 * 64;
  u8x64 a = broadcast<uint8_t>(0x53);
  s8x64 b = broadcast<int8_t>(-0x35);
  NEARLIGHT_MEMBER void freshen() { touch(a); }
  // Codes of up to 7 bits, which most formats have, are the faster ones where there is a difference.
  NEARLIGHT_MEMBER Sum add(const Sum& acc) const { return dot4_7bit(acc, a, b); }
};

#if defined(__AVX512BF16__)
struct Bf16 {
  using Sum = f32x16;
  static constexpr double kOperations = 2 * 32;
  i32x16 a = broadcast<int32_t>(0x3fc03fc0), b = broadcast<int32_t>(static_cast<int32_t>(0xbe80be80));  // 1.5, -0.25
  NEARLIGHT_MEMBER void freshen() { touch(a); }
  NEARLIGHT_MEMBER Sum add(const Sum& acc) const {
    return {{(f32x16::Register)_mm512_dpbf16_ps(acc.part[0], (__m512bh)a.part[0], (__m512bh)b.part[0])}};
  }
};
#else
using Bf16 = Fp32;
#endif

template <class Type>
double multiply(int64_t rounds) {
  Type operands;
  typename Type::Sum sums[kChains] = {};
  for (int64_t round = 0; round < rounds; round++) {
    for (int step = 0; step < kSteps; step++) {
      for (int i = 0; i < kChains; i++) {
        operands.freshen();
        sums[i] = operands.add(sums[i]);
      }
    }
  }
  for (auto& sum : sums) touch(sum);  // or nobody would need them
  return static_cast<double>(rounds) * kSteps * kChains * Type::kOperations;
}

// Few and cheap instructions for every load, and memory asked for well ahead: only reading takes time.
uint64_t read(const std::byte* data, size_t n_bytes) {
  constexpr int kLoads = 4, kLineBytes = 64;
  constexpr size_t kAhead = 4096, kStride = kLoads * kLineBytes;
  const auto* words = reinterpret_cast<const int32_t*>(data);
  i32x16 sums[kLoads] = {};
  for (size_t at = 0; at + kStride <= n_bytes; at += kStride) {
    for (int i = 0; i < kLoads; i++) {
      prefetch(data + at + kAhead + i * kLineBytes);
      sums[i] = sums[i] + load(words + at / sizeof(int32_t) + 16 * i);
    }
  }
  return static_cast<uint64_t>(sum(sums[0] + sums[1] + sums[2] + sums[3]));
}

}  // namespace

const ProbeKernels& probe_kernels() {
  static constexpr ProbeKernels kernels{read, {multiply<Fp32>, multiply<Bf16>, multiply<Int16>, multiply<Int8>}};
  return kernels;
}

}  // namespace nearlight::NEARLIGHT_LEVEL
