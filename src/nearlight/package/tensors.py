"""A tensor as it lies in a file: a name, a shape, a format, and its bytes, mapped and not copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nearlight.dtypes import Format
from nearlight.errors import ShapeError

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in its stored bits.

    Shapes: `shape` is row-major as in torch; `read()` gives uint8 [rows, row bytes], where rows is the product of
    all axes but the last.
    """

    name: str
    format: Format
    shape: tuple[int, ...]
    read: Callable[[], Bytes]
    """Gives the bytes: a view of the mapped file where the stored order is already right, else a small copy."""

    @property
    def n_rows(self) -> int:
        count = 1
        for size in self.shape[:-1]:
            count *= size
        return count

    @property
    def row_length(self) -> int:
        return self.shape[-1] if self.shape else 1

    @property
    def n_bytes(self) -> int:
        return self.n_rows * self.format.row_bytes(self.row_length)

    def renamed(self, name: str) -> StoredTensor:
        return replace(self, name=name)

    def part(self, start: int, stop: int) -> StoredTensor:
        """Return entries start … stop-1 of the first axis, as fused projections are taken apart."""

        def read() -> Bytes:
            data = self.read()
            if len(self.shape) > 1:
                return data[start * rows_per_entry : stop * rows_per_entry]
            return data[:, self.format.row_bytes(start) : self.format.row_bytes(stop)]

        if not 0 <= start < stop <= self.shape[0] or (len(self.shape) == 1 and self.format.block_size > 1):
            raise ShapeError(f"part of {self.name}", expected=f"within {list(self.shape)}", found=f"{start}:{stop}")
        rows_per_entry = self.n_rows // self.shape[0] if len(self.shape) > 1 else 1
        return replace(self, shape=(stop - start, *self.shape[1:]), read=read)

    @staticmethod
    def from_bytes(name: str, format: Format, shape: tuple[int, ...], data: Bytes) -> StoredTensor:
        """Wrap bytes that are already in memory (or mapped).

        Shapes: data uint8 [rows, row bytes].
        Raises: ShapeError when the bytes do not hold the shape.
        """
        tensor = StoredTensor(name, format, shape, lambda: data)
        expected = (tensor.n_rows, format.row_bytes(tensor.row_length))
        if data.shape != expected:
            raise ShapeError(f"bytes of {name} ({format} {list(shape)})", expected=expected, found=data.shape)
        return tensor
