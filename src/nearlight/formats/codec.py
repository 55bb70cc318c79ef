"""What a stored format is to numpy: a function from blocks to values, and for some the way back.

A codec sees whole blocks only. Rows, padding and chunking are the same for every format and live in the package's
`__init__`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[np.uint8]
Values = NDArray[np.float32]


@dataclass(frozen=True)
class Codec:
    """The two directions of one format.

    Shapes: decode uint8 [n, block_bytes] -> float32 [n, block_size]; encode the reverse.
    `scales_at` are the byte offsets of a block's f16 scales and offsets: where they are finite, so is every value.
    """

    decode: Callable[[Blocks], Values]
    encode: Callable[[Values], Blocks] | None = None
    scales_at: tuple[int, ...] = ()


def half(blocks: Blocks, start: int) -> Values:
    """Read the little-endian f16 at byte `start` of every block.

    Shapes: uint8 [n, block_bytes] -> float32 [n, 1].
    """
    return np.ascontiguousarray(blocks[:, start : start + 2]).view("<f2").astype(np.float32)


def to_half(values: Values) -> Blocks:
    """Store values as little-endian f16.

    Shapes: float32 [n, k] -> uint8 [n, 2k].
    """
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values).astype("<f2").view(np.uint8)


def bit_fields(packed: Blocks, bits: int, run: int) -> Blocks:
    """Unpack small fields whose order is: runs of `run` bytes; within one, all lowest fields, then the next ones.

    Shapes: uint8 [n, k] -> uint8 [n, k · 8 / bits].
    """
    n = len(packed)
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(1, 1, -1, 1)
    fields = (packed.reshape(n, -1, 1, run) >> shifts) & np.uint8((1 << bits) - 1)
    return fields.reshape(n, -1)


def inverse(scale: Values) -> Values:
    """Return 1 / scale, and 0 where the scale is 0."""
    return np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)


def signed_extreme(values: Values) -> Values:
    """Pick the value of largest magnitude along the last axis, with its sign.

    Shapes: float32 [..., k] -> float32 [..., 1].
    """
    return np.take_along_axis(values, np.abs(values).argmax(axis=-1)[..., None], axis=-1)
