// Stored blocks taken apart: unsigned codes in input order, and the scale fields that go with them.
//
// Source: docs/formats.md, GGUF block layouts. Signed values become unsigned codes by adding the format's zero point
// (8 for Q4_0, 128 for Q8_0 ...); tables (IQ4_NL, MXFP4) keep their index as code. Affine groups are unsigned already and
// bring a zero point of their own.
#pragma once

#include <cstring>

#include "layout.h"

namespace nearlight {

struct StoredBlock {
  uint8_t codes[256];
  uint8_t bytes[16];
  uint16_t halves[2];
};

namespace {

uint16_t half_at(const uint8_t* b) { return static_cast<uint16_t>(b[0] | b[1] << 8); }

// 32 nibbles: inputs 0-15 in the low halves of 16 bytes, 16-31 in the high halves.
void nibbles(const uint8_t* b, uint8_t* codes) {
  for (int i = 0; i < 16; i++) {
    codes[i] = b[i] & 15;
    codes[i + 16] = b[i] >> 4;
  }
}

void add_fifth_bits(const uint8_t* b, uint8_t* codes) {  // bit e of a little-endian u32 for input e
  for (int e = 0; e < 32; e++) codes[e] |= static_cast<uint8_t>((b[e / 8] >> (e % 8) & 1) << 4);
}

// 256 nibbles: pairs of 32 inputs in the low and high halves of 32 bytes.
void nibbles_256(const uint8_t* b, uint8_t* codes) {
  for (int pair = 0; pair < 4; pair++, b += 32, codes += 64) {
    for (int i = 0; i < 32; i++) {
      codes[i] = b[i] & 15;
      codes[i + 32] = b[i] >> 4;
    }
  }
}

// 256 codes of 2 bits: four runs of 32 inputs in the bit pairs of 32 bytes, twice.
void crumbs_256(const uint8_t* b, uint8_t* codes) {
  for (int half = 0; half < 2; half++, b += 32) {
    for (int shift = 0; shift < 8; shift += 2, codes += 32) {
      for (int i = 0; i < 32; i++) codes[i] = b[i] >> shift & 3;
    }
  }
}

// A scale, a zero point, and codes in the order of inputs.
void affine(Format format, const uint8_t* b, StoredBlock& out) {
  const Layout& layout = layout_of(format);
  out.halves[0] = half_at(b);
  out.bytes[0] = b[2];
  if (layout.low_bits == 8) {
    std::memcpy(out.codes, b + 3, static_cast<size_t>(layout.stored_block));
    return;
  }
  for (int i = 0; i < layout.stored_block / 2; i++) {
    out.codes[2 * i] = b[3 + i] & 15;
    out.codes[2 * i + 1] = b[3 + i] >> 4;
  }
}

constexpr uint16_t kSign = 0x8000;

void take_apart(Format format, const uint8_t* b, StoredBlock& out) {
  switch (format) {  // without a default, so that a format left out is an error (-Werror=switch)
    case Format::Q8_0:
      out.halves[0] = half_at(b);
      for (int i = 0; i < 32; i++) out.codes[i] = b[2 + i] ^ 0x80;
      break;
    case Format::Q4_0:
    case Format::IQ4_NL:
      out.halves[0] = half_at(b);
      nibbles(b + 2, out.codes);
      break;
    case Format::Q4_1:  // stored is the value of code 0; kernels subtract mins
      out.halves[0] = half_at(b);
      out.halves[1] = half_at(b + 2) ^ kSign;
      nibbles(b + 4, out.codes);
      break;
    case Format::Q5_0:
      out.halves[0] = half_at(b);
      nibbles(b + 6, out.codes);
      add_fifth_bits(b + 2, out.codes);
      break;
    case Format::Q5_1:
      out.halves[0] = half_at(b);
      out.halves[1] = half_at(b + 2) ^ kSign;
      nibbles(b + 8, out.codes);
      add_fifth_bits(b + 4, out.codes);
      break;
    case Format::MXFP4:
      out.bytes[0] = b[0];
      nibbles(b + 1, out.codes);
      break;
    case Format::W4G32:
    case Format::W4G64:
    case Format::W4G128:
    case Format::W8G32:
    case Format::W8G64:
    case Format::W8G128:
      affine(format, b, out);
      break;
    case Format::Q2_K:
      std::memcpy(out.bytes, b, 16);
      crumbs_256(b + 16, out.codes);
      out.halves[0] = half_at(b + 80);
      out.halves[1] = half_at(b + 82);
      break;
    case Format::Q3_K:
      crumbs_256(b + 32, out.codes);
      for (int e = 0; e < 256; e++) out.codes[e] |= static_cast<uint8_t>((b[e % 32] >> (e / 32) & 1) << 2);
      std::memcpy(out.bytes, b + 96, 12);
      out.halves[0] = half_at(b + 108);
      break;
    case Format::Q4_K:
      out.halves[0] = half_at(b);
      out.halves[1] = half_at(b + 2);
      std::memcpy(out.bytes, b + 4, 12);
      nibbles_256(b + 16, out.codes);
      break;
    case Format::Q5_K:
      out.halves[0] = half_at(b);
      out.halves[1] = half_at(b + 2);
      std::memcpy(out.bytes, b + 4, 12);
      nibbles_256(b + 48, out.codes);
      for (int e = 0; e < 256; e++) out.codes[e] |= static_cast<uint8_t>((b[16 + e % 32] >> (e / 32) & 1) << 4);
      break;
    case Format::Q6_K: {
      uint8_t high[256];
      crumbs_256(b + 128, high);
      for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 64; i++) {
          const int e = 128 * half + i;
          out.codes[e] = static_cast<uint8_t>((b[64 * half + i] & 15) | high[e] << 4);
          out.codes[e + 64] = static_cast<uint8_t>(b[64 * half + i] >> 4 | high[e + 64] << 4);
        }
      }
      std::memcpy(out.bytes, b + 192, 16);
      out.halves[0] = half_at(b + 208);
      break;
    }
    case Format::IQ4_XS:
      out.halves[0] = half_at(b);
      for (int j = 0; j < 4; j++) {  // low four bits of scale j and, above, of scale j + 4
        const int low = b[4 + j / 2] >> (j % 2 * 4) & 15, high = b[6 + j / 2] >> (j % 2 * 4) & 15;
        out.bytes[j] = static_cast<uint8_t>(low | high << 4);
      }
      out.bytes[4] = b[2];  // high two bits of scales 0-3
      out.bytes[5] = b[3];  // and of 4-7
      for (int j = 0; j < 8; j++) nibbles(b + 8 + 16 * j, out.codes + 32 * j);
      break;
    case Format::F32:
    case Format::F16:
    case Format::BF16:
      break;  // have no blocks
  }
}

}  // namespace
}  // namespace nearlight
