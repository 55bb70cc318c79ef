"""GGML's formats of 32 values to a block: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.

One f16 scale to a block, and in the `_1` formats an f16 offset. Nibbles hold value e in the low half of byte e for
the first sixteen values and in the high half of byte e − 16 for the rest.

Source: GGUF specification; layouts checked bit for bit against the gguf package.
"""

from __future__ import annotations

import numpy as np

from nearlight.formats.codec import Blocks, Codec, Values, bit_fields, half, inverse, signed_extreme, to_half


def _fifth_bits(blocks: Blocks, start: int) -> Blocks:
    """Return the high bit of every 5-bit code, already in place (0 or 16).

    Shapes: uint8 [n, block_bytes] -> uint8 [n, 32].
    """
    return np.unpackbits(blocks[:, start : start + 4], axis=1, bitorder="little") << np.uint8(4)


def _decode_q4_0(blocks: Blocks) -> Values:
    codes = bit_fields(blocks[:, 2:18], 4, run=16).astype(np.int8) - np.int8(8)
    return half(blocks, 0) * codes.astype(np.float32)


def _encode_q4_0(values: Values) -> Blocks:
    """Map the value of largest magnitude to code 0, so that the longer, negative side of the range is used."""
    scale = signed_extreme(values) / np.float32(-8)
    codes = np.clip(np.trunc(values * inverse(scale) + np.float32(8.5)), 0, 15).astype(np.uint8)
    return np.concatenate([to_half(scale), codes[:, :16] | (codes[:, 16:] << 4)], axis=1)


def _decode_q4_1(blocks: Blocks) -> Values:
    codes = bit_fields(blocks[:, 4:20], 4, run=16)
    return half(blocks, 0) * codes.astype(np.float32) + half(blocks, 2)


def _decode_q5_0(blocks: Blocks) -> Values:
    codes = bit_fields(blocks[:, 6:22], 4, run=16) | _fifth_bits(blocks, 2)
    return half(blocks, 0) * (codes.astype(np.int8) - np.int8(16)).astype(np.float32)


def _decode_q5_1(blocks: Blocks) -> Values:
    codes = bit_fields(blocks[:, 8:24], 4, run=16) | _fifth_bits(blocks, 4)
    return half(blocks, 0) * codes.astype(np.float32) + half(blocks, 2)


def _decode_q8_0(blocks: Blocks) -> Values:
    return half(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)


def _encode_q8_0(values: Values) -> Blocks:
    scale = np.abs(values).max(axis=1, keepdims=True) / np.float32(127)
    scaled = values * inverse(scale)
    magnitude = np.abs(scaled)
    whole = np.floor(magnitude)
    rounded = np.copysign(whole + (magnitude - whole >= 0.5), scaled)  # ties away from zero, as C's roundf
    return np.concatenate([to_half(scale), rounded.astype(np.int8).view(np.uint8)], axis=1)


Q4_0 = Codec(_decode_q4_0, _encode_q4_0, scales_at=(0,))
Q4_1 = Codec(_decode_q4_1, scales_at=(0, 2))
Q5_0 = Codec(_decode_q5_0, scales_at=(0,))
Q5_1 = Codec(_decode_q5_1, scales_at=(0, 2))
Q8_0 = Codec(_decode_q8_0, _encode_q8_0, scales_at=(0,))
