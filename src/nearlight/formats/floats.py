"""Plain floating-point storage: F32, F16, BF16.

A block is one value. BF16 is the upper half of a float32, which numpy has no type for, so it is handled as integers.
"""

from __future__ import annotations

import numpy as np

from nearlight.formats.codec import Blocks, Codec, Values


def _decode_f32(blocks: Blocks) -> Values:
    return blocks.view("<f4").astype(np.float32)


def _encode_f32(values: Values) -> Blocks:
    return np.ascontiguousarray(values).astype("<f4").view(np.uint8)


def _decode_f16(blocks: Blocks) -> Values:
    return blocks.view("<f2").astype(np.float32)


def _encode_f16(values: Values) -> Blocks:
    with np.errstate(over="ignore"):  # beyond 65504 becomes infinite, as in every cast to f16
        return np.ascontiguousarray(values).astype("<f2").view(np.uint8)


def _decode_bf16(blocks: Blocks) -> Values:
    return (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _encode_bf16(values: Values) -> Blocks:
    """Round to the nearest, ties to even; a NaN stays a (quiet) NaN."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16
    quiet = (bits >> 16) | 0x40
    is_nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return np.where(is_nan, quiet, rounded).astype("<u2").view(np.uint8)


F32 = Codec(_decode_f32, _encode_f32)
F16 = Codec(_decode_f16, _encode_f16)
BF16 = Codec(_decode_bf16, _encode_bf16)
