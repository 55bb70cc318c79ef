"""Activations as shapes only, and how much room those that are alive take.

The CPU's tape gives an activation's place in the arena back when its last holder lets go, which CPython does at once.
The same rule here, on numbers alone, gives the arena's size before anything runs.
"""

from __future__ import annotations

_LINE_BYTES = 64


class Room:
    """Bytes of the activations alive now, and the most there were."""

    def __init__(self) -> None:
        self.taken = 0
        self.peak = 0

    def take(self, n_bytes: int) -> int:
        """Count bytes as taken, in whole cache lines; return how many to give back."""
        n_bytes = -(-n_bytes // _LINE_BYTES) * _LINE_BYTES
        self.taken += n_bytes
        self.peak = max(self.peak, self.taken)
        return n_bytes

    def give_back(self, n_bytes: int) -> None:
        self.taken -= n_bytes


class Activation:
    """A float32 array [rows, width] that nobody computes."""

    __slots__ = ("_held", "_prepared", "_room", "rows", "width")

    def __init__(self, room: Room, rows: int, width: int) -> None:
        self.rows, self.width = rows, width
        self._room = room
        self._held = room.take(self.n_bytes)
        self._prepared: set[str] = set()

    def __del__(self) -> None:
        self._room.give_back(self._held)

    def prepare(self, form: str, n_bytes: int) -> None:
        """Hold a copy in another form too, once for all matrices that want it."""
        if form not in self._prepared:
            self._prepared.add(form)
            self._held += self._room.take(n_bytes)

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.width

    @property
    def n_bytes(self) -> int:
        return 4 * self.rows * self.width
