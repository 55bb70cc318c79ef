"""Activations as shapes only, and the room they take.

The CPU's tape gives an activation's place in the arena back when its last holder lets go, which CPython does at once,
and takes the first free place that is large enough. The same rule here, on numbers alone, gives the arena's size before
anything runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from nearlight.dtypes import Format

_LINE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of the arena."""

    offset: int
    n_bytes: int


class Room:
    """The arena, as native/src/runtime/arena.cpp divides it: first fit, lowest offset first, neighbours merged."""

    def __init__(self) -> None:
        self.peak = 0
        self._free: list[Place] = []

    def take(self, n_bytes: int) -> Place:
        """Take a place of whole cache lines."""
        n_bytes = -(-max(n_bytes, 1) // _LINE_BYTES) * _LINE_BYTES
        for i, place in enumerate(self._free):
            if place.n_bytes >= n_bytes:
                rest = Place(place.offset + n_bytes, place.n_bytes - n_bytes)
                self._free[i : i + 1] = [rest] if rest.n_bytes else []
                return Place(place.offset, n_bytes)
        offset = self.peak
        if self._free and self._free[-1].offset + self._free[-1].n_bytes == self.peak:
            offset = self._free.pop().offset
        self.peak = offset + n_bytes
        return Place(offset, n_bytes)

    def give_back(self, place: Place) -> None:
        """Make a place free again."""
        merged: list[Place] = []
        for free in sorted([*self._free, place], key=lambda free: free.offset):
            if merged and merged[-1].offset + merged[-1].n_bytes == free.offset:
                free = Place(merged[-1].offset, merged.pop().n_bytes + free.n_bytes)
            merged.append(free)
        self._free = merged


class Activation:
    """A float32 array [rows, width] that nobody computes."""

    __slots__ = ("_places", "_room", "rows", "width")

    def __init__(self, room: Room, rows: int, width: int) -> None:
        self.rows, self.width = rows, width
        self._room = room
        self._places = {"fp32": room.take(self.n_bytes)}

    def __del__(self) -> None:
        for place in self._places.values():
            self._room.give_back(place)

    def quantize(self, format: Format, n_bytes: int) -> None:
        """Hold a copy quantized for products with matrices of a format, once for all of them."""
        form = f"quantized for {format}"
        if form not in self._places:
            self._places[form] = self._room.take(n_bytes)

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.width

    @property
    def n_bytes(self) -> int:
        return 4 * self.rows * self.width
