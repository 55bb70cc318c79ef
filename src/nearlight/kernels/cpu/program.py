"""A forward recorded once for any number of rows up to a power of two, and replayed.

Where activations lie and how work is divided is decided for the most rows a tape has room for; what is computed follows
the rows there are. So steps that mix prompts with decoding, whose numbers differ all the time, need few tapes. Those
used least recently are dropped.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from nearlight import _native
from nearlight.errors import RequestError, ShapeError
from nearlight.kernels.ops import Array, Float32, Frequencies, Rows, Watch

if TYPE_CHECKING:
    from nearlight.kernels.cpu.ops import CpuOps

KEPT_TAPES = 16
"""Of steps of up to 512 rows, which come in ten sizes, each with some of logit rows."""


class Recording:
    """A tape, what its ropes ask for before each step, and where its result will be."""

    def __init__(self, runtime: _native.Runtime, room: tuple[int, int]) -> None:
        self.tape = _native.Tape(runtime, *room)
        self.result: _native.Activation | None = None
        self._frequencies: list[Frequencies] = []

    def ask(self, frequencies: Frequencies) -> int:
        """Note that frequencies are to be given anew with every step, and return how many."""
        self._frequencies.append(frequencies)
        n: int = frequencies([1]).shape[-1]
        return n

    def replay(self, rows: Rows, watch: Watch | None) -> Float32:
        """Compute the logits of rows that there is room for. Raises: RequestError for rows that do not fit."""
        assert self.result is not None
        lengths = [position + 1 for position in rows.positions] if rows.lengths is None else rows.lengths
        frequencies = [np.ascontiguousarray(ask(lengths), dtype=np.float32).ravel() for ask in self._frequencies]
        try:
            return self.tape.run(
                self.result,
                rows.tokens,
                rows.positions,
                rows.sequences,
                rows.logit_rows,
                rows.embeddings,
                frequencies,
                watch,
            )
        except ValueError as error:
            raise RequestError(str(error)) from None


class CpuProgram:
    """A `Program` on the CPU: call it with rows, get logits.

    Raises: RequestError, with nothing computed, for ids, positions or sequences that no table or store has room for.
    """

    def __init__(self, ops: CpuOps, forward: Callable[[Rows], Array]) -> None:
        self._ops = ops
        self._forward = forward
        self._recordings: OrderedDict[tuple[int, int], Recording] = OrderedDict()
        self._lock = threading.RLock()

    def __call__(self, rows: Rows, watch: Watch | None = None) -> Float32:
        rows = Rows(
            _list(rows.tokens),
            _list(rows.positions),
            _list(rows.sequences),
            _list(rows.logit_rows),
            _embeddings(rows.embeddings),
            None if rows.lengths is None else _list(rows.lengths),
        )
        if not len(rows.tokens) == len(rows.positions) == len(rows.sequences) > 0:
            found = [len(rows.tokens), len(rows.positions), len(rows.sequences)]
            raise ShapeError("tokens, positions, sequences", expected="equal numbers, at least 1", found=found)
        with self._lock:
            return self.recording(rows).replay(rows, watch)

    def recording(self, rows: Rows) -> Recording:
        """Return the recording that has room for these rows, making it if it is not kept."""
        room = _room(len(rows.tokens)), _room(len(rows.logit_rows))
        recording = self._recordings.get(room)
        if recording is None:
            recording = self._recordings[room] = self._record(room)
            if len(self._recordings) > KEPT_TAPES:
                self._recordings.popitem(last=False)
        self._recordings.move_to_end(room)
        return recording

    def _record(self, room: tuple[int, int]) -> Recording:
        recording = Recording(self._ops.runtime, room)
        tape = recording.tape
        rows = Rows(tape.tokens, tape.positions, tape.sequences, tape.logit_rows, tape.embeddings)
        with self._ops.recording_lock:
            self._ops.recording = recording
            try:
                recording.result = self._forward(rows)
            finally:
                self._ops.recording = None
        return recording


def _room(n: int) -> int:
    """Return for how many rows a tape is made that n are to fit: a power of two, or none."""
    return 1 << (n - 1).bit_length() if n else 0


def _embeddings(values: Array | None) -> Float32 | None:
    if values is None:
        return None
    embeddings = np.ascontiguousarray(values, dtype=np.float32)
    if embeddings.ndim != 2:
        raise ShapeError("embeddings of rows", expected="two axes", found=list(embeddings.shape))
    return embeddings


def _list(values: Array) -> list[int]:
    if isinstance(values, list):  # as the engine gives them: arrays would be made and read again with every token
        return values
    if values.ndim != 1:
        raise ShapeError("a field of rows", expected="one axis", found=list(values.shape))
    integers: list[int] = values.tolist()
    return integers
