"""The protobuf wire format, as much of it as a SentencePiece model needs.

A message is a run of (key, value); a key is `field number << 3 | wire type`. Reading it takes fifty lines, so nearlight
carries no protobuf library for it. Every length is checked against the bytes there are.

Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

Value = int | float | bytes
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are not a protobuf message."""


def fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """Yield each field's number and value: int for varints, float for 32 bits, bytes for everything with a length.

    Raises: WireError where a value runs past the end or has an unknown wire type.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise WireError(f"field number 0 at byte {position}")
        value: Value
        if kind == _VARINT:
            value, position = _varint(message, position)
        elif kind == _BYTES:
            length, position = _varint(message, position)
            value, position = _take(message, position, length)
        elif kind == _FIXED32:
            raw, position = _take(message, position, 4)
            value = float(struct.unpack("<f", raw)[0])
        elif kind == _FIXED64:
            value, position = _take(message, position, 8)
        else:
            raise WireError(f"wire type {kind} at byte {position}")
        yield number, value


def _take(message: bytes, position: int, length: int) -> tuple[bytes, int]:
    if length > len(message) - position:
        raise WireError(f"{length} bytes wanted at byte {position}, {len(message) - position} left")
    return message[position : position + length], position + length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise WireError("the bytes end inside a number")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise WireError(f"a number of more than ten bytes before byte {position}")


def signed32(value: Value) -> int:
    """Read a varint as protobuf's int32, in which -1 has ten bytes."""
    if not isinstance(value, int):
        raise WireError(f"expected a number, found {type(value).__name__}")
    low = value & 0xFFFF_FFFF
    return low - (1 << 32) if low >= 1 << 31 else low
