"""A file mapped into memory, read only: weights are paged in by the system when touched and never copied whole.

Every range is checked against the file's length here, once, for both containers. Python's integers do not overflow,
so a size that a header multiplies up to the sky is simply larger than the file.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nearlight.dtypes import Format
from nearlight.errors import PackageError, UnsupportedError
from nearlight.package.tensors import Bytes, StoredTensor

MAX_AXES = 8
MAX_AXIS = 1 << 40
"""Longer than any axis of any model; a tensor with an axis of 0 would otherwise hide an absurd one."""


class MappedFile:
    """A regular file as read-only memory.

    Units: `length` counts bytes.
    Raises: PackageError when it is not a readable, non-empty regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise PackageError("not a regular file", where=path)
                self.length = status.st_size
                if self.length == 0:
                    raise PackageError("the file is empty", where=path, advice="was the download interrupted?")
                self.memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise PackageError(f"cannot be read ({error.strerror})", where=path) from None

    def tensor(self, name: str, format: Format, shape: tuple[int, ...], offset: int) -> StoredTensor:
        """Describe a tensor whose bytes begin at `offset` of the file.

        Raises: PackageError when the shape is absurd or its bytes do not all lie inside the file.
        """
        tensor = StoredTensor(name, format, shape, lambda: self._bytes(tensor, offset), self.release)
        check_shape(shape, self.path, name)
        if offset + tensor.n_bytes > self.length:
            raise PackageError(
                f"tensor '{name}' ends after the file does",
                where=self.path,
                expected=f"at most byte {self.length}",
                found=f"byte {offset} + {tensor.n_bytes}",
                advice="the file is damaged or was not downloaded completely",
            )
        return tensor

    def release(self) -> None:
        """Take the whole file out of this process's memory; what is touched again comes back, from the page cache."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.memory.madvise(mmap.MADV_DONTNEED)

    def _bytes(self, tensor: StoredTensor, offset: int) -> Bytes:
        data = np.frombuffer(self.memory, np.uint8, tensor.n_bytes, offset) if tensor.n_bytes else np.empty(0, np.uint8)
        return data.reshape(tensor.n_rows, tensor.format.row_bytes(tensor.row_length))


def check_shape(shape: Sequence[int], where: Path, name: str) -> None:
    """Refuse shapes that no tensor has.

    Raises: PackageError naming the tensor.
    """
    if len(shape) > MAX_AXES:
        raise PackageError(f"axes of tensor '{name}'", where=where, expected=f"at most {MAX_AXES}", found=len(shape))
    for size in shape:
        if not 0 <= size <= MAX_AXIS:
            raise PackageError(
                f"shape of tensor '{name}'", where=where, expected=f"sizes from 0 to {MAX_AXIS}", found=_short(size)
            )


def unreadable(tensor: StoredTensor, where: Path, readable: Sequence[Format]) -> StoredTensor:
    """Keep a tensor's description, but refuse its bytes: it may be one that nobody needs."""

    def refuse() -> Bytes:
        raise UnsupportedError(
            f"type of tensor '{tensor.name}'",
            where=where,
            expected="one of " + " ".join(map(str, readable)),
            found=tensor.format,
        )

    return StoredTensor(tensor.name, tensor.format, tensor.shape, refuse)


def _short(number: int) -> str:
    return str(number) if abs(number) < 1 << 64 else "a number beyond 64 bits"
