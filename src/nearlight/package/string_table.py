"""Strings as they lie in a file, one after the other, each made when it is asked for.

A vocabulary and its merges are 300,000 strings. Making them all takes longer than reading a small model's weights, and
a short prompt needs a hundred. So they stay bytes, and texts are found among them by a key of their first eight bytes
and their length, computed for all strings at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Places: TypeAlias = NDArray[np.int64]

_KEY_BYTES = 8
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
_SLOTS_PER_TEXT = 512


class StringTable(Sequence[str]):
    """UTF-8 strings at `starts` of `data`, of `lengths` bytes and without NUL; what is no UTF-8 reads as U+FFFD.

    Before each string lies at least one byte of none, and all of those are 0.
    Shapes: data [n_bytes]; starts, lengths [n], in ascending order.
    """

    def __init__(self, data: Bytes, starts: Places, lengths: Places) -> None:
        self._data = np.concatenate([data, np.zeros(_KEY_BYTES, np.uint8)])
        self._starts, self._lengths = starts, lengths

    @classmethod
    def of(cls, texts: Collection[str]) -> StringTable:
        """Make a table of strings without NUL."""
        raw = [text.encode("utf-8", "surrogatepass") for text in texts]
        lengths = np.fromiter(map(len, raw), np.int64, len(raw))
        starts = np.cumsum(lengths + 1) - lengths
        return cls(np.frombuffer(b"".join(b"\0" + one for one in raw), np.uint8), starts, lengths)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice[Any, Any, Any]) -> list[str]: ...
    def __getitem__(self, index: int | slice[Any, Any, Any]) -> str | list[str]:
        if isinstance(index, slice):
            return list(self)[index]
        start = int(self._starts[index])
        return self._data[start : start + int(self._lengths[index])].tobytes().decode("utf-8", "replace")

    def __iter__(self) -> Iterator[str]:
        """Make all strings: at once, divided by a NUL."""
        data = self._data[: len(self._data) - _KEY_BYTES]
        kept = data != 0
        kept[self._starts - 1] = True
        joined = data[kept].tobytes().decode("utf-8", "replace")
        return iter(joined.split("\0")[1:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """Numbers that equal strings have in common and others hardly ever. Shapes: [n]."""
        windows = np.lib.stride_tricks.sliding_window_view(self._data, _KEY_BYTES)
        first = np.ascontiguousarray(windows[self._starts]).view("<u8")[:, 0]
        unused = 8 * np.clip(_KEY_BYTES - self._lengths, 0, _KEY_BYTES - 1).astype(np.uint64)
        first = np.where(self._lengths == 0, np.uint64(0), first << unused >> unused)
        keys: NDArray[np.uint64] = (first ^ (self._lengths.astype(np.uint64) * _ODD)) * _ODD
        return keys

    def find(self, texts: Collection[str]) -> list[int]:
        """Return the numbers of the strings that are among `texts`, in ascending order."""
        if not texts:
            return []
        if any("\ufffd" in text for text in texts):  # may stand for any bytes
            return [number for number, text in enumerate(self) if text in texts]
        bits = (len(texts) * _SLOTS_PER_TEXT).bit_length()
        taken = np.zeros(1 << bits, bool)
        taken[StringTable.of(texts).keys >> np.uint64(64 - bits)] = True
        possible = np.flatnonzero(taken[self.keys >> np.uint64(64 - bits)])
        return [number for number in possible.tolist() if self[number] in texts]


def find(strings: Sequence[str], texts: Collection[str]) -> list[int]:
    """Return the numbers of the strings that are among `texts`, in ascending order."""
    if isinstance(strings, StringTable):
        return strings.find(texts)
    return [number for number, text in enumerate(strings) if text in texts]
