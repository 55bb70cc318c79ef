"""A forward recorded once per shape of rows, and replayed.

A tape holds for one number of rows R and of logit rows W, because the sizes of activations and the division of work
depend on them. Decoding uses one shape all the time; prompts come in one usual chunk and some rests. The tapes used
least recently are dropped.
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

KEPT_TAPES = 64


class Recording:
    """A tape, what its ropes ask for before each step, and where its result will be."""

    def __init__(self, runtime: _native.Runtime, n_rows: int, n_logit_rows: int, longest: int) -> None:
        self.tape = _native.Tape(runtime, n_rows, n_logit_rows)
        self.result: _native.Activation | None = None
        self._longest = longest
        self._frequencies: list[Frequencies] = []

    def ask(self, frequencies: Frequencies) -> Float32:
        """Note that frequencies are to be given anew with every step, and return those of this one."""
        self._frequencies.append(frequencies)
        return frequencies(self._longest)

    def replay(self, rows: Rows, watch: Watch | None) -> Float32:
        """Compute the logits of other rows of the same shape. Raises: RequestError for rows that do not fit."""
        assert self.result is not None
        longest = max(rows.positions) + 1
        frequencies = [np.ascontiguousarray(ask(longest), dtype=np.float32) for ask in self._frequencies]
        try:
            return self.tape.run(
                self.result, rows.tokens, rows.positions, rows.sequences, rows.logit_rows, frequencies, watch
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
        rows = Rows(_list(rows.tokens), _list(rows.positions), _list(rows.sequences), _list(rows.logit_rows))
        if not len(rows.tokens) == len(rows.positions) == len(rows.sequences) > 0:
            found = [len(rows.tokens), len(rows.positions), len(rows.sequences)]
            raise ShapeError("tokens, positions, sequences", expected="equal numbers, at least 1", found=found)
        with self._lock:
            return self.recording(rows).replay(rows, watch)

    def recording(self, rows: Rows) -> Recording:
        """Return the recording for rows of this shape, making it if it is not kept."""
        shape = (len(rows.tokens), len(rows.logit_rows))
        recording = self._recordings.get(shape)
        if recording is None:
            recording = self._recordings[shape] = self._record(rows)
            if len(self._recordings) > KEPT_TAPES:
                self._recordings.popitem(last=False)
        self._recordings.move_to_end(shape)
        return recording

    def _record(self, rows: Rows) -> Recording:
        recording = Recording(
            self._ops.runtime, len(rows.tokens), len(rows.logit_rows), max(max(rows.positions) + 1, 1)
        )
        tape = recording.tape
        with self._ops.recording_lock:
            self._ops.recording = recording
            try:
                recording.result = self._forward(Rows(tape.tokens, tape.positions, tape.sequences, tape.logit_rows))
            finally:
                self._ops.recording = None
        return recording


def _list(values: Array) -> list[int]:
    if isinstance(values, list):  # as the engine gives them: arrays would be made and read again with every token
        return values
    if values.ndim != 1:
        raise ShapeError("a field of rows", expected="one axis", found=list(values.shape))
    integers: list[int] = values.tolist()
    return integers
