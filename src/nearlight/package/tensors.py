"""A tensor as it lies in a file: a name, a shape, a format, and its bytes, mapped and not copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nearlight.dtypes import Format
from nearlight.errors import ShapeError

Bytes = NDArray[np.uint8]


def _nothing() -> None:
    """Release bytes that are held anyway."""


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
    release: Callable[[], None] = _nothing
    """Lets the system take back the pages of the file that were read: they count as this process's memory."""
    make_rows: Callable[[int], Iterator[Bytes]] | None = None
    """Makes the bytes so many rows at a time, where they are not stored but computed."""

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

    def in_pieces(self, n_rows: int) -> Iterator[Bytes]:
        """Give the bytes n_rows at a time, holding no more of them; each piece is good until the next is asked for."""
        if self.make_rows:
            yield from self.make_rows(n_rows)
            return
        whole = self.read()
        for start in range(0, self.n_rows, n_rows):
            yield whole[start : start + n_rows]
            self.release()

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

    def runs(self, start: int, run: int, stride: int) -> StoredTensor:
        """Return `run` entries of every `stride` of the first axis, from its `start` on: of every head its part."""

        def read() -> Bytes:
            groups = self.read().reshape(n_groups, stride, -1)[:, start : start + run]
            return np.ascontiguousarray(groups).reshape(made.n_rows, -1)

        fits = 0 <= start < start + run <= stride and self.shape[0] % stride == 0
        if not fits or (len(self.shape) == 1 and self.format.block_size > 1):
            found = f"{start}:{start + run} of every {stride}"
            raise ShapeError(f"part of {self.name}", expected=f"within {list(self.shape)}", found=found)
        n_groups = self.shape[0] // stride
        made = replace(self, shape=(n_groups * run, *self.shape[1:]), read=read)
        return made

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
