"""Scanner of GGUF's typed values: numbers, strings and arrays, one after the other, never past the file's end.

A vocabulary is one array of a few hundred thousand strings and dominates the time to open a file. So short strings are
found by the zeros in their lengths, and stay bytes until they are asked for. Arrays of numbers are only viewed.

Source: GGUF specification, section "File structure".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from nearlight.errors import PackageError
from nearlight.package.mapping import MappedFile
from nearlight.package.string_table import StringTable

MAX_NAME_BYTES = 1024

_STRINGS_AT_ONCE, _USUAL_BYTES = 8192, 24
"""So many that arrays of them stay in cache; what a string of a vocabulary takes with its length, or less."""

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_BOOL, _STRING, _ARRAY = 7, 8, 9
_NUMBERS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 10: "<u8", 11: "<i8", 12: "<f8"}
_NUMBER_TYPES = {kind: np.dtype(layout) for kind, layout in _NUMBERS.items()} | {_BOOL: np.dtype("?")}


class Scanner:
    """A position in a mapped file, moved by reading.

    Every method takes the name of the field it reads, for the message when the file ends inside it.
    """

    def __init__(self, file: MappedFile, position: int = 0) -> None:
        self.file = file
        self.position = position

    @property
    def remaining(self) -> int:
        return self.file.length - self.position

    def u32(self, field: str) -> int:
        return self._integer(_U32, field)

    def u64(self, field: str) -> int:
        return self._integer(_U64, field)

    def count(self, field: str, item_bytes: int) -> int:
        """Read a u64 count of items of at least `item_bytes` each, all of which must still fit in the file."""
        count = self.u64(field)
        if count * item_bytes > self.remaining:
            self._fail(field, f"at most {self.remaining // item_bytes}", count)
        return count

    def name(self, field: str) -> str:
        """Read a string that must be UTF-8 and of sane length: a key or a tensor's name."""
        size = self.count(field, 1)
        if size > MAX_NAME_BYTES:
            self._fail(f"length of {field}", f"at most {MAX_NAME_BYTES} bytes", size)
        raw = self._take(size)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self._fail(field, "UTF-8", ascii(raw[:40]))

    def value(self, field: str) -> Any:
        """Read a type and a value of that type.

        Numbers become int, float or bool; arrays of strings a sequence; arrays of numbers a numpy view of the file.
        """
        kind = self.u32(f"type of {field}")
        if kind == _STRING:
            return self._take(self.count(f"length of {field}", 1)).decode("utf-8", "replace")
        if kind == _ARRAY:
            return self._array(field)
        if kind not in _NUMBER_TYPES:
            self._fail(f"type of {field}", "0 to 12", kind)
        return self._numbers(field, _NUMBER_TYPES[kind], 1)[0].item()

    def _array(self, field: str) -> Any:
        kind = self.u32(f"element type of {field}")
        if kind == _STRING:
            return self._strings(field, self.count(f"length of {field}", 8))
        if kind not in _NUMBER_TYPES:
            found = "an array of arrays" if kind == _ARRAY else kind
            self._fail(f"element type of {field}", "a number, bool or string", found)
        return self._numbers(field, _NUMBER_TYPES[kind], self.count(f"length of {field}", _NUMBER_TYPES[kind].itemsize))

    def _strings(self, field: str, count: int) -> Sequence[str]:
        return self._short_strings(count) or self._any_strings(field, count)

    def _short_strings(self, count: int) -> StringTable | None:
        """Read strings of less than 256 bytes and without NUL; None, having read nothing, if some are not."""
        position, done = self.position, 0
        blocks = []
        while done < count:
            block = self._block_of_lengths(min(_STRINGS_AT_ONCE, count - done))
            if block is None:
                self.position = position
                return None
            blocks.append(block)
            done += len(block)
        lengths = np.concatenate(blocks or [np.empty(0, np.int64)])
        starts = np.cumsum(lengths + _U64.size) - lengths
        data = np.frombuffer(self.file.memory, np.uint8, self.position - position, position).copy()
        data[starts - _U64.size] = 0  # the only byte of a length that is not
        return StringTable(data, starts, lengths)

    def _block_of_lengths(self, count: int) -> NDArray[np.int64] | None:
        # As far as short strings reach and no further: behind them may lie gigabytes of tensors.
        window, most = 0, min(self.remaining, (_U64.size + 255) * count)
        while window < most:
            window = min(max(2 * window, _USUAL_BYTES * count), most)
            data = np.frombuffer(self.file.memory, np.uint8, window, self.position)
            lengths = _lengths(data, count)
            ends = np.cumsum(lengths + _U64.size)
            if ends[-1] > window:
                continue
            data, starts = data[: ends[-1]], ends - lengths - _U64.size
            n_not_zero = lengths.sum() + np.count_nonzero(lengths)
            if (data[starts] != lengths).any() or np.count_nonzero(data) != n_not_zero:
                continue
            self.position += len(data)
            return lengths
        return None

    def _any_strings(self, field: str, count: int) -> list[str]:
        memory, end, position, size_at = self.file.memory, self.file.length, self.position, _U64.unpack_from
        strings = []
        for index in range(count):
            if position + 8 > end:
                self._fail(f"{field}[{index}]", "a string", "the end of the file")
            start = position + 8
            position = start + size_at(memory, position)[0]
            if position > end:
                self._fail(f"{field}[{index}]", f"at most {end - start} bytes", position - start)
            strings.append(memory[start:position].decode("utf-8", "replace"))
        self.position = position
        return strings

    def _numbers(self, field: str, dtype: np.dtype[Any], count: int) -> Any:
        size = count * dtype.itemsize
        if size > self.remaining:
            self._fail(field, f"{size} bytes", f"{self.remaining} before the end of the file")
        if count == 0:
            return np.empty(0, dtype)
        if dtype == np.bool_:  # any byte but 0 is true; numpy would trust the byte
            numbers = np.frombuffer(self.file.memory, np.uint8, count, self.position) != 0
        else:
            numbers = np.frombuffer(self.file.memory, dtype, count, self.position)
        self.position += size
        return numbers

    def _integer(self, layout: struct.Struct, field: str) -> int:
        if layout.size > self.remaining:
            self._fail(field, f"{layout.size} bytes", f"{self.remaining} before the end of the file")
        (number,) = layout.unpack_from(self.file.memory, self.position)
        self.position += layout.size
        return int(number)

    def _take(self, size: int) -> bytes:
        raw = self.file.memory[self.position : self.position + size]
        self.position += size
        return raw

    def _fail(self, field: str, expected: object, found: object) -> NoReturn:
        advice = "the file is damaged or was not downloaded completely"
        raise PackageError(field, where=self.file.path, expected=expected, found=found, advice=advice)


def _lengths(data: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Guess the lengths of `count` strings of less than 256 bytes and without NUL.

    The length of such a string is a byte and seven zeros, and no other zeros are seven: so all that are not empty are
    found at once, and how many empty ones lie between them follows.
    """
    zero = data == 0
    found = ~zero[:-8] & ~zero[8:]
    for i in range(1, 8):
        found &= zero[i : i - 8]
    starts = np.flatnonzero(found)
    ends = starts + _U64.size + data[starts]
    n_empty = (starts - np.concatenate([[0], ends])[: len(starts)]) // _U64.size
    index = np.cumsum(n_empty) + np.arange(len(starts))
    kept = (index >= 0) & (index < count)
    lengths = np.zeros(count, np.int64)
    lengths[index[kept]] = data[starts[kept]]
    return lengths
