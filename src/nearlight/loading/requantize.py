"""Tensors in other bits than they are stored in: made while they are read, some rows at a time, on several threads.

So neither float values nor stored pages pile up.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nearlight.dtypes import Format
from nearlight.errors import PackageError
from nearlight.formats import dequantize, quantize
from nearlight.machine.threads import default_threads
from nearlight.package.tensors import Bytes, StoredTensor

_VALUES = 1 << 20
"""What a thread has as floats at a time."""


def requantized(tensor: StoredTensor, format: Format) -> StoredTensor:
    """Return a tensor with the same values in another format.

    Reading it raises PackageError for values that are not finite, of which no block of codes can be made.
    """
    step = max(1, _VALUES // tensor.row_length)

    def make_rows(n_rows: int) -> Iterator[Bytes]:
        from concurrent.futures import ThreadPoolExecutor

        stored = tensor.read()
        with ThreadPoolExecutor(default_threads()) as threads:
            for first in range(0, len(stored), n_rows):
                source = stored[first : first + n_rows]
                made = np.empty((len(source), format.row_bytes(tensor.row_length)), np.uint8)
                steps = range(0, len(source), step)
                rows = [(source[start : start + step], made[start : start + step]) for start in steps]
                for start, fault in zip(steps, threads.map(convert, rows), strict=True):
                    if fault:
                        where = f"{tensor.name}, rows from {first + start}"
                        raise PackageError(where, expected=f"finite numbers, to make {format} of", found="others")
                yield made
                tensor.release()

    def convert(rows: tuple[Bytes, Bytes]) -> bool:
        source, target = rows
        values = dequantize(tensor.format, source, tensor.row_length)
        if format.block_size > 1 and not np.isfinite(values).all():
            return True
        target[:] = quantize(format, values)
        return False

    def read() -> Bytes:
        return next(make_rows(tensor.n_rows))

    return StoredTensor(tensor.name, format, tensor.shape, read, tensor.release, make_rows)
