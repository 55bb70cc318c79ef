"""Affine groups: 32, 64 or 128 values share an f16 scale and a zero point, as in GPTQ, AWQ and compressed-tensors.

    value = scale · (code − zero)

A block is the scale, the zero point in a byte, and the codes in order, the first of them in the lowest bits. A zero
point may be any byte: files written by different tools mean 1 to 16 as often as 0 to 15. Source: docs/formats.md.
"""

from __future__ import annotations

import numpy as np

from nearlight.formats.codec import Blocks, Codec, Values, bit_fields, half, inverse, to_half

_CODES = 3  # where they begin


def affine(bits: int) -> Codec:
    """Return the codec of groups of any size with codes of 4 or 8 bits."""
    largest = np.float32((1 << bits) - 1)

    def decode(blocks: Blocks) -> Values:
        codes = bit_fields(blocks[:, _CODES:], bits, run=1).astype(np.int16)
        return half(blocks, 0) * (codes - blocks[:, 2:3].astype(np.int16)).astype(np.float32)

    def encode(values: Values) -> Blocks:
        low = np.minimum(values.min(axis=1, keepdims=True), 0)
        high = np.maximum(values.max(axis=1, keepdims=True), 0)
        scale = to_half((high - low) / largest)
        steps = inverse(half(scale, 0))
        zero = np.clip(np.rint(-low * steps), 0, largest)
        codes = np.clip(np.rint(values * steps) + zero, 0, largest).astype(np.uint8)
        packed = codes[:, ::2] | codes[:, 1::2] << 4 if bits == 4 else codes
        return np.concatenate([scale, zero.astype(np.uint8), packed], axis=1)

    return Codec(decode, encode, scales_at=(0,))
