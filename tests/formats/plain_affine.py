"""Affine groups read one code after the other, as docs/formats.md says them: what codec and kernels are tested with."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from nearlight.dtypes import Format


def plain_affine(format: Format, data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Shapes: uint8 [rows, row_bytes] -> float32 [rows, whole blocks]."""
    bits = int(format.name[1])
    rows = []
    for row in data:
        values = []
        for start in range(0, len(row), format.block_bytes):
            block = row[start : start + format.block_bytes].tobytes()
            scale, zero = struct.unpack("<eB", block[:3])
            stream = int.from_bytes(block[3:], "little")
            codes = [stream >> bits * i & ((1 << bits) - 1) for i in range(format.block_size)]
            values += [scale * (code - zero) for code in codes]
        rows.append(values)
    return np.array(rows, np.float32)
