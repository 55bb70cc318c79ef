// Attention over caches of 16 bits, on the integer units: no value of the cache is ever converted, and next to nothing
// is lost.
//
// A key or value is codes of 16 bits with a scale of its own, bf16; a query likewise, with a float. Dot products of
// pairs add up in int32, exact, in any order. That they fit is a matter of the scales:
//
// scores   |query . key| <= |query| |key| (Cauchy-Schwarz), and so for any part of the dimensions. With scales that make
//          either length 46000 at most, sums stay below 2^31, for any head size.
// values   codes of a value are 16383 at most, and the softmax weights of 64 tokens, each with its value's scale in it,
//          are codes that add up to 131000: together below 2^31.
//
// Bounding the length and not the largest value costs no exactness: normal values have codes around 4000 at 128
// dimensions, which is as good as f16 and in a score fourteen times as good as bf16. It takes as long as bf16 where
// there are such units (AVX-512), as long as fp32 where one instruction multiplies and another adds (AVX2).
//
// Errors (normal values, 128 dimensions): scores 1e-5 of |query| |key|; outputs 1.5e-4 of |v| where all tokens weigh
// alike, less where few do.
#pragma once

#include <cmath>

#include "../dots.h"
#include "attend.h"

namespace nearlight::NEARLIGHT_LEVEL {

constexpr float kKeyLength = 46000, kKeyCode = 32767, kValueCode = 16383, kWeightCode = 32767, kWeightSum = 131000;
constexpr int64_t kSummedTokens = 64;  // tokens whose weighted values are summed in integers

// Values d … d+15 of n, zeros past the last.
NEARLIGHT_INLINE f32x16 sixteen(const float* values, int64_t d, int64_t n) {
  return n - d >= 16 ? load(values + d) : load_lanes(values + d, static_cast<int>(n - d));
}

// The unit of codes for n values, such that none is above `most` and their length not above `length`; NaN if one is.
NEARLIGHT_INLINE float unit_for(const float* values, int64_t n, float most, float length) {
  f32x16 squares = broadcast(0.0f), largest = broadcast(0.0f);
  for (int64_t d = 0; d < n; d += 16) {
    const f32x16 x = sixteen(values, d, n);
    squares = fma(x, x, squares);
    largest = max(largest, abs(x));
  }
  const float by_length = std::sqrt(sum(squares)) / length, by_largest = max_lane(largest) / most;
  return by_largest > by_length ? by_largest : by_length;
}

NEARLIGHT_INLINE f32x16 inverse_of(float unit) { return broadcast(unit > 0 ? 1.0f / unit : 0.0f); }

class I16Cache {
#if defined(NEARLIGHT_AVX512)
  static constexpr int kSums = 24, kTileRows = 6;
#elif defined(NEARLIGHT_AVX2)
  static constexpr int kSums = 6, kTileRows = 3;
#else
  static constexpr int kSums = 2, kTileRows = 1;
#endif

 public:
  static constexpr bool kTouches = false;  // reads the cache before it computes: it does not pay
  I16Cache(const AttendTile& tile, int64_t n_queries, Scratch& scratch) : layout_(tile.layout) {
    queries_ = scratch.take<int16_t>(n_queries * layout_.padded_dim());
    weights_ = scratch.take<int16_t>(n_queries * kStretchTokens);
  }

  // Takes a query in, [padded_dim], zeros past head_dim.
  NEARLIGHT_MEMBER void take_query(int64_t i, const float* query) {
    const int64_t padded = layout_.padded_dim();
    scales_[i] = unit_for(query, padded, kKeyCode, kKeyLength);
    const f32x16 inverse = inverse_of(scales_[i]);
    for (int64_t d = 0; d < padded; d += 16) {
      store_low_halves(queries_ + i * padded + d, round_to_i32(load(query + d) * inverse));
    }
  }

  // scores[query][token] for the queries and tokens of the stretch, in blocks of 16 tokens.
  void score(const Stretch& stretch, float* scores) {
    const int64_t begin = stretch.begin / kKeyBlock, end = (stretch.end + kKeyBlock - 1) / kKeyBlock;
    fetch_all(values_of(stretch) + layout_.values_bytes(), layout_.value_scales_bytes());
    in_tiles(stretch, [&](int64_t query, auto rows) {
      in_strips<power_of_two(kSums / rows)>(begin, end, [&](int64_t first, auto blocks) {
        score_tile<rows, blocks>(stretch, query, first, scores);
      });
    });
  }

  // Takes in the softmax weights of a query, 16 at a time from stretch.begin on; works in `row`, [kStretchTokens].
  struct Weights {
    const Stretch& stretch;
    const uint16_t* scales;
    float* row;
    int16_t* codes;
    float* units;

    NEARLIGHT_MEMBER void put(int64_t token, const f32x16& weights) {
      store(row + token, where_positive(weights, weights * load_bf16(scales + token)));
    }
    // Makes codes of what was put up to token `end`; the rest of the stretch is nothing.
    NEARLIGHT_MEMBER void end(int64_t end) {
      for (int64_t half = 0; half < kStretchTokens / kSummedTokens; half++) {
        const int64_t from = half * kSummedTokens, first = stretch.begin > from ? stretch.begin : from;
        const int64_t last = end < from + kSummedTokens ? end : from + kSummedTokens;
        f32x16 total = broadcast(0.0f), largest = broadcast(0.0f);
        for (int64_t t = first; t < last; t += 16) {
          total = total + load(row + t);
          largest = max(largest, load(row + t));
        }
        const float by_sum = sum(total) / kWeightSum, by_largest = max_lane(largest) / kWeightCode;
        units[half] = by_largest > by_sum ? by_largest : by_sum;
        const f32x16 inverse = inverse_of(units[half]);
        for (int64_t t = first; t < last; t += 16) store_low_halves(codes + t, round_to_i32(load(row + t) * inverse));
      }
      for (int64_t t = end; t < stretch.end; t += 16) store_low_halves(codes + t, i32x16{});
    }
  };
  NEARLIGHT_MEMBER Weights weights(const Stretch& stretch, int64_t i, float* row) {
    const auto* scales = reinterpret_cast<const uint16_t*>(values_of(stretch) + layout_.values_bytes());
    return {stretch, scales, row, weights_ + i * kStretchTokens, units_[i]};
  }

  // sums[query] = sums[query] * corrections[query] + weights . values
  void weigh(const Stretch& stretch, const float* corrections, float* sums) {
    fetch_all(stretch.next + layout_.keys_bytes(), layout_.key_scales_bytes());
    in_tiles(stretch, [&](int64_t query, auto rows) {
      in_strips<power_of_two(kSums / rows)>(0, layout_.padded_dim() / 16, [&](int64_t first, auto vectors) {
        const int64_t middle = stretch.begin / kSummedTokens * kSummedTokens + kSummedTokens;
        const int64_t end = stretch.end < middle ? stretch.end : middle;
        weigh_tile<rows, vectors>(stretch, stretch.begin, end, query, first, corrections, sums);
        if (end < stretch.end) weigh_tile<rows, vectors>(stretch, end, stretch.end, query, first, nullptr, sums);
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
    const int64_t block_bytes = layout_.key_block_bytes(), padded = layout_.padded_dim();
    const std::byte* keys = stretch.at + first * block_bytes;
    const int64_t to_values = layout_.keys_bytes() + layout_.key_scales_bytes();
    const int16_t* const queries = queries_ + query * padded;
    i32x16 dots[rows][blocks] = {};
    for (int64_t d = 0; d < layout_.key_dim(); d += 2, keys += 64) {
      NEARLIGHT_UNROLLED for (int b = 0; b < blocks; b++) {
        const s16x32 key = load(reinterpret_cast<const int16_t*>(keys + block_bytes * b));
        fetch(keys + block_bytes * b + to_values);
        NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
          dots[r][b] = dot2(dots[r][b], key, broadcast2(queries + r * padded + d));
        }
      }
    }
    const auto* scales = reinterpret_cast<const uint16_t*>(stretch.at + layout_.keys_bytes()) + first * kKeyBlock;
    NEARLIGHT_UNROLLED for (int b = 0; b < blocks; b++) {
      const f32x16 scale = load_bf16(scales + b * kKeyBlock);
      NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
        store(scores + (query + r) * kStretchTokens + (first + b) * kKeyBlock,
              to_f32(dots[r][b]) * scale * broadcast(scales_[query + r]));
      }
    }
  }

  // Tokens begin .. end-1, which lie in one half; without corrections sums stay as they are.
  template <int rows, int vectors>
  NEARLIGHT_MEMBER void weigh_tile(const Stretch& stretch, int64_t begin, int64_t end, int64_t query, int64_t first,
                                   const float* corrections, float* sums) {
    const int64_t padded = layout_.padded_dim(), half = begin / kSummedTokens;
    const std::byte* const values = values_of(stretch) + first * 64;
    const std::byte* const ahead = stretch.next + first * 64;
    i32x16 dots[rows][vectors] = {};
    for (int64_t t = begin; t < end; t += 2) {
      NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) {
        const s16x32 codes = load(reinterpret_cast<const int16_t*>(values + t * padded * 2 + 64 * v));
        fetch(ahead + t * padded * 2 + 64 * v);
        NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
          dots[r][v] = dot2(dots[r][v], codes, broadcast2(weights_ + (query + r) * kStretchTokens + t));
        }
      }
    }
    // Corrected first, then added to: the same bits, whether a half in which a row sees nothing was taken or not.
    NEARLIGHT_UNROLLED for (int r = 0; r < rows; r++) {
      const f32x16 unit = broadcast(units_[query + r][half]);
      const f32x16 correction = broadcast(corrections ? corrections[query + r] : 1.0f);
      NEARLIGHT_UNROLLED for (int v = 0; v < vectors; v++) {
        float* to = sums + (query + r) * padded + (first + v) * 16;
        store(to, fma(to_f32(dots[r][v]), unit, load(to) * correction));
      }
    }
  }

  const KVLayout& layout_;
  int16_t* queries_;  // [query][padded_dim]
  int16_t* weights_;  // [query][token]
  float scales_[kMaxQueries], units_[kMaxQueries][kStretchTokens / kSummedTokens];
};

// The bits of the nearest bf16 that is not below a positive value; a NaN stays one.
NEARLIGHT_INLINE uint16_t bf16_not_below(float value) {
  return value != value ? 0x7fc0 : static_cast<uint16_t>((bits_from_f32(value) + 0xffff) >> 16);
}

// Calls put(d, code) for each of n values, and returns the bits of their scale. Codes are for the scale as it is kept.
template <typename Put>
NEARLIGHT_INLINE uint16_t put_codes(const float* values, int64_t n, float most, float length, const Put& put) {
  const uint16_t scale = bf16_not_below(unit_for(values, n, most, length));
  const f32x16 inverse = inverse_of(f32_from_bf16(scale));
  for (int64_t d = 0; d < n; d += 16) {
    int16_t codes[16];
    store_low_halves(codes, round_to_i32(sixteen(values, d, n) * inverse));
    for (int64_t i = 0; i < 16 && d + i < n; i++) put(d + i, codes[i]);
  }
  return scale;
}

// Writes a token's key and value of one head into its stretch.
NEARLIGHT_INLINE void append_i16(const KVLayout& layout, std::byte* stretch, int64_t token, const float* k,
                                 const float* v) {
  const int64_t dim = layout.head_dim;
  std::byte* const block = stretch + token / kKeyBlock * layout.key_block_bytes();
  auto* keys = reinterpret_cast<int16_t*>(block) + token % kKeyBlock * 2;
  const auto put_key = [&](int64_t d, int16_t code) { keys[d / 2 * 2 * kKeyBlock + d % 2] = code; };
  reinterpret_cast<uint16_t*>(stretch + layout.keys_bytes())[token] =
      put_codes(k, dim, kKeyCode, kKeyLength, put_key);
  std::byte* const at = stretch + layout.keys_bytes() + layout.key_scales_bytes();
  auto* values = reinterpret_cast<int16_t*>(at) + token / 2 * 2 * layout.padded_dim() + token % 2;
  reinterpret_cast<uint16_t*>(at + layout.values_bytes())[token] =
      put_codes(v, dim, kValueCode, INFINITY, [&](int64_t d, int16_t code) { values[2 * d] = code; });
}

}  // namespace nearlight::NEARLIGHT_LEVEL
