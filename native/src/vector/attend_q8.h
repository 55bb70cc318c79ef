// Attention over caches of 8 bits, on the integer units: no value of the cache is ever converted.
//
// Keys are codes -127 .. 127 (kept as 1 .. 255) with an f16 scale per token and 32 dimensions; a query is quantized
// likewise, with float scales. Per group of 32: eight dot products of four, exact, started at -128 times the sum of the
// query's codes, which settles the offset; then
//
//     score += float(dots) * key scale * query scale          groups in ascending order, one sum per element
//
// A group of 128 dimensions' scores cost 32 dot products and 16 other instructions for 16 tokens.
//
// Values have ONE scale per token: there are no sums over a token's dimensions that more scales could serve, while one
// can be folded into the token's softmax weight, w = p * scale. The weights of a stretch are then fixed point of 14
// bits, relative to the largest of the stretch, in two planes of 7 bits that meet the codes in two dot products:
//
//     sums += (128 * (high . codes) + low . codes) * largest / 16383
//
// The sums are exact, so their order is free: 128 tokens * 127 * 127 in each plane, and 128 * 16383 * 127 = 2.7e8
// together, stay below 2^31. Two planes cost as much as one product in bf16, which has 8 bits; one plane of 7 bits
// would be twice as fast but lose tokens that have a 1/254 of the largest weight, and there may be thousands. Rounding
// errs by largest / 32766 at most, per token, against a value's own error of 1/254 of its token's largest dimension.
//
// Accuracy (normal values): scores err by 0.8 % of |q| |k| / sqrt(D), half from either side; outputs by 0.6 % of |v|
// before averaging, and less the more tokens are weighed.
#pragma once

#include "../dots.h"
#include "attend.h"

namespace nearlight::NEARLIGHT_LEVEL {

class Q8Cache {
#if defined(NEARLIGHT_AVX512)
  static constexpr int kSums = 24, kTileRows = 6;
#elif defined(NEARLIGHT_AVX2)
  static constexpr int kSums = 4, kTileRows = 2;
#else
  static constexpr int kSums = 2, kTileRows = 1;
#endif

 public:
  static constexpr bool kTouches = true;  // reads the cache before it computes
  Q8Cache(const AttendTile& tile, int64_t n_queries, Scratch& scratch)
      : layout_(tile.layout), groups_(layout_.key_groups()), quads_(layout_.key_dim() / 4) {
    codes_ = scratch.take<int8_t>(n_queries * groups_ * kKeyGroup);
    scales_ = scratch.take<float>(n_queries * groups_);
    starts_ = scratch.take<int32_t>(n_queries * groups_);
    weights_ = scratch.take<int8_t>(n_queries * 2 * kStretchTokens);
  }

  // Takes a query in, [padded_dim], zeros past head_dim.
  NEARLIGHT_MEMBER void take_query(int64_t i, const float* query) {
    for (int64_t g = 0; g < groups_; g++) {
      const bool whole = (g + 1) * kKeyGroup <= layout_.padded_dim();
      const f32x16 a = load(query + g * kKeyGroup), b = whole ? load(query + g * kKeyGroup + 16) : f32x16{};
      const float largest = max_lane(max(abs(a), abs(b)));
      const f32x16 inverse = broadcast(largest > 0 ? 127.0f / largest : 0.0f);
      const i32x16 first = round_to_i32(a * inverse), second = round_to_i32(b * inverse);
      const int64_t at = i * groups_ + g;
      store_low_bytes(codes_ + at * kKeyGroup, first);
      store_low_bytes(codes_ + at * kKeyGroup + 16, second);
      scales_[at] = largest / 127.0f;
      starts_[at] = -128 * sum(first + second);
    }
  }

  void score(const Stretch& stretch, float* scores) {
    const int64_t begin = stretch.begin / kKeyBlock, end = (stretch.end + kKeyBlock - 1) / kKeyBlock;
    fetch_all(values_of(stretch) + layout_.values_bytes(), layout_.value_scales_bytes());
    in_tiles(stretch, [&](int64_t query, auto rows) {
      in_strips<power_of_two(kSums / 2 / rows)>(begin, end, [&](int64_t first, auto blocks) {
        score_tile<rows, blocks>(stretch, query, first, scores);
      });
    });
  }

  // Takes in the softmax weights of a query, 16 at a time from stretch.begin on; works in `row`, [kStretchTokens].
  struct Weights {
    const Stretch& stretch;
    const uint16_t* scales;
    float* row;
    int8_t *high, *low;
    float& unit;
    f32x16 largest;

    NEARLIGHT_MEMBER void put(int64_t token, const f32x16& weights) {
      const f32x16 scaled = where_positive(weights, weights * load_f16(scales + token));
      store(row + token, scaled);
      largest = max(largest, scaled);
    }
    // Quantizes what was put up to token `end`; the rest of the stretch is nothing.
    NEARLIGHT_MEMBER void end(int64_t end) {
      const float most = max_lane(largest);
      unit = most / 16383.0f;
      const f32x16 inverse = broadcast(most > 1e-30f ? 16383.0f / most : 0.0f);
      for (int64_t t = stretch.begin; t < end; t += 16) {
        const i32x16 code = round_to_i32(load(row + t) * inverse);
        store_low_bytes(high + t, code >> 7);
        store_low_bytes(low + t, code & broadcast(127));
      }
      for (int64_t t = end; t < stretch.end; t += 16) {
        store_low_bytes(high + t, i32x16{});
        store_low_bytes(low + t, i32x16{});
      }
    }
  };
  NEARLIGHT_MEMBER Weights weights(const Stretch& stretch, int64_t i, float* row) {
    int8_t* high = weights_ + i * 2 * kStretchTokens;
    const auto* scales = reinterpret_cast<const uint16_t*>(values_of(stretch) + layout_.values_bytes());
    return {stretch, scales, row, high, high + kStretchTokens, units_[i], broadcast(0.0f)};
  }

  void weigh(const Stretch& stretch, const float* corrections, float* sums) {
    fetch_all(stretch.next + layout_.keys_bytes(), layout_.key_scales_bytes());
    in_tiles(stretch, [&](int64_t query, auto rows) {
      in_strips<power_of_two(kSums / 2 / rows)>(0, layout_.padded_dim() / 16, [&](int64_t first, auto vectors) {
        weigh_tile<rows, vectors>(stretch, query, first, corrections, sums);
      });
    });
  }

 private:
  // Scales are few, but waiting for them would be long.
  NEARLIGHT_MEMBER static void fetch_all(const std::byte* from, int64_t n_bytes) {
    for (int64_t at = 0; at < n_bytes; at += 64) fetch(from + at);
  }

  template <typename F>
  NEARLIGHT_MEMBER void in_tiles(const Stretch& stretch, const F& f) {
    for (int64_t query = stretch.first; query < stretch.last; query += kTileRows) {
      const int64_t n = stretch.last - query < kTileRows ? stretch.last - query : kTileRows;
      with_constant<kTileRows>(n, [&](auto rows) { f(query, rows); });
    }
  }

  NEARLIGHT_MEMBER const std::byte* values_of(const Stretch& stretch) const {
    return stretch.at + layout_.keys_bytes() + layout_.key_scales_bytes();
  }

  template <int rows, int blocks>
  NEARLIGHT_MEMBER void score_tile(const Stretch& stretch, int64_t query, int64_t first, float* scores) {
    const int64_t block_bytes = layout_.key_block_bytes();
    const auto* codes = reinterpret_cast<const uint8_t*>(stretch.at) + first * block_bytes;
    const auto* scales = reinterpret_cast<const uint16_t*>(stretch.at + layout_.keys_bytes()) + first * kKeyBlock;
    const int64_t to_values = layout_.keys_bytes() + layout_.key_scales_bytes();
    f32x16 total[rows][blocks] = {};
    for (int64_t g = 0; g < groups_; g++, scales += kStretchTokens) {
      i32x16 dots[rows][blocks];
      NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
        NEARLIGHT_UNROLLED for (int b = 0; b < blocks; b++) dots[r][b] = broadcast(starts_[(query + r) * groups_ + g]);
      }
      const int64_t rest = quads_ - g * (kKeyGroup / 4), n = rest < kKeyGroup / 4 ? rest : kKeyGroup / 4;
      for (int64_t j = 0; j < n; j++, codes += 64) {
        NEARLIGHT_UNROLLED for (int b = 0; b < blocks; b++) {
          const u8x64 key = load(codes + block_bytes * b);
          fetch(codes + block_bytes * b + to_values);
          NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
            dots[r][b] = dot4(dots[r][b], key, broadcast4(codes_ + ((query + r) * groups_ + g) * kKeyGroup + 4 * j));
          }
        }
      }
      NEARLIGHT_UNROLLED for (int b = 0; b < blocks; b++) {
        const f32x16 scale = load_f16(scales + b * kKeyBlock);
        NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
          const f32x16 of_query = broadcast(scales_[(query + r) * groups_ + g]);
          total[r][b] = fma(to_f32(dots[r][b]) * scale, of_query, total[r][b]);
        }
      }
    }
    NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
      NEARLIGHT_UNROLLED for (int b = 0; b < blocks; b++) {
        store(scores + (query + r) * kStretchTokens + (first + b) * kKeyBlock, total[r][b]);
      }
    }
  }

  template <int rows, int vectors>
  NEARLIGHT_MEMBER void weigh_tile(const Stretch& stretch, int64_t query, int64_t first, const float* corrections,
                                   float* sums) {
    const int64_t padded = layout_.padded_dim();
    const auto* values = reinterpret_cast<const int8_t*>(values_of(stretch)) + first * 64;
    const std::byte* ahead = stretch.next + first * 64;
    i32x16 high[rows][vectors] = {}, low[rows][vectors] = {};
    for (int64_t t = stretch.begin; t < stretch.end; t += 4) {
      NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) {
        const s8x64 codes = load(values + t * padded + 64 * v);
        fetch(ahead + t * padded + 64 * v);
        NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
          const int8_t* weights = weights_ + (query + r) * 2 * kStretchTokens + t;
          high[r][v] = dot4_7bit(high[r][v], bits_as<u8x64>(broadcast4(weights)), codes);
          low[r][v] = dot4_7bit(low[r][v], bits_as<u8x64>(broadcast4(weights + kStretchTokens)), codes);
        }
      }
    }
    NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
      NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) {
        float* to = sums + (query + r) * padded + (first + v) * 16;
        const f32x16 gained = to_f32((high[r][v] << 7) + low[r][v]) * broadcast(units_[query + r]);
        store(to, fma(load(to), broadcast(corrections[query + r]), gained));
      }
    }
  }

  const KVLayout& layout_;
  int64_t groups_, quads_;
  int8_t* codes_;    // of the queries
  float* scales_;    // [query][group]
  int32_t* starts_;  // of the dot products
  int8_t* weights_;  // [query][high, low][token]
  float units_[kMaxQueries];
};

// Quantizes n values to codes, `stride` apart and `packed_stride` from one four to the next, and returns the scale's
// bits. Codes are for the scale as it is kept, so they are as near as they can be.
NEARLIGHT_INLINE uint16_t put_bytes(const float* values, int64_t n, uint8_t offset, uint8_t* codes, int64_t stride,
                                    int64_t packed_stride) {
  const auto part = [&](int64_t d) {
    return n - d >= 16 ? load(values + d) : load_lanes(values + d, static_cast<int>(n - d));
  };
  i32x16 largest{};  // compared as integers a NaN is the largest: it becomes the scale and is not lost
  for (int64_t d = 0; d < n; d += 16) largest = max(largest, bits_as<i32x16>(abs(part(d))));
  const float most = f32_from_bits(static_cast<uint32_t>(max_lane(largest)));
  const uint16_t scale = f16_from_f32(most / 127.0f);
  const float kept = f32_from_f16(scale);
  const f32x16 inverse = broadcast(kept > 0 ? 1.0f / kept : 0.0f);
  const f32x16 highest = broadcast(127.0f), lowest = broadcast(-127.0f);
  for (int64_t d = 0; d < n; d += 16) {
    int8_t code[16];
    store_low_bytes(code, round_to_i32(max(lowest, min(highest, part(d) * inverse))));
    for (int64_t i = 0; i < 16 && d + i < n; i++) {
      codes[(d + i) / 4 * packed_stride + (d + i) % 4 * stride] = static_cast<uint8_t>(code[i] + offset);
    }
  }
  return scale;
}

// Writes a token's key and value of one head into its stretch.
NEARLIGHT_INLINE void append_q8(const KVLayout& layout, std::byte* stretch, int64_t token, const float* k,
                                const float* v) {
  auto* keys = reinterpret_cast<uint8_t*>(stretch + token / kKeyBlock * layout.key_block_bytes()) + token % kKeyBlock * 4;
  auto* key_scales = reinterpret_cast<uint16_t*>(stretch + layout.keys_bytes()) + token;
  for (int64_t d = 0; d < layout.head_dim; d += kKeyGroup) {
    const int64_t n = layout.head_dim - d < kKeyGroup ? layout.head_dim - d : kKeyGroup;
    key_scales[d / kKeyGroup * kStretchTokens] =
        put_bytes(k + d, n, 128, keys + d * kKeyBlock, 1, 4 * kKeyBlock);
  }
  std::byte* values = stretch + layout.keys_bytes() + layout.key_scales_bytes();
  auto* codes = reinterpret_cast<uint8_t*>(values) + token / 4 * 4 * layout.padded_dim() + token % 4;
  reinterpret_cast<uint16_t*>(values + layout.values_bytes())[token] = put_bytes(v, layout.head_dim, 0, codes, 4, 16);
}

}  // namespace nearlight::NEARLIGHT_LEVEL
