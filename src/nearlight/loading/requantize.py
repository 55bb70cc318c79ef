"""Tensors in other bits than they are stored in: made while they are read, some rows at a time, on several threads.

So neither float values nor stored pages pile up.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nearlight.dtypes import Format
from nearlight.errors import PackageError
from nearlight.formats import dequantize, quantize, row_slices
from nearlight.machine.threads import default_threads
from nearlight.package.tensors import Bytes, StoredTensor

_VALUES = 1 << 20
"""What a thread has as floats at a time."""


def requantized(tensor: StoredTensor, format: Format) -> StoredTensor:
    """Return a tensor with the same values in another format.

    Reading it raises PackageError for values that are not finite, of which no block of codes can be made.
    """

    def make_rows(n_rows: int) -> Iterator[Bytes]:
        from concurrent.futures import ThreadPoolExecutor

        first = 0
        with ThreadPoolExecutor(default_threads()) as threads:
            for stored in tensor.in_pieces(n_rows):
                made = np.empty((len(stored), format.row_bytes(tensor.row_length)), np.uint8)
                slices = list(row_slices(len(stored), tensor.row_length, _VALUES))
                done = threads.map(convert, (stored[rows] for rows in slices), (made[rows] for rows in slices))
                for rows, fine in zip(slices, done, strict=True):
                    if not fine:
                        where = f"{tensor.name}, rows from {first + rows.start}"
                        raise PackageError(where, expected=f"finite numbers, to make {format} of", found="others")
                yield made
                first += len(stored)

    def convert(stored: Bytes, made: Bytes) -> bool:
        """Fill `made`; say whether the values allowed that."""
        values = dequantize(tensor.format, stored, tensor.row_length)
        if format.block_size > 1 and not np.isfinite(values).all():
            return False
        made[:] = quantize(format, values)
        return True

    def read() -> Bytes:
        return next(make_rows(tensor.n_rows))

    return StoredTensor(tensor.name, format, tensor.shape, read, tensor.release, make_rows)
