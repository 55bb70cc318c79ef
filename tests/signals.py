"""Signals where tests want them: sent in the middle of a step, and waited for without a clock."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from nearlight.kernels.ops import Watch


def sends(numbers: Iterable[int]) -> Watch:
    """Return a `watch` that sends this process the next of these signals whenever it is called; 0 is none.

    It is made of C alone. So Python does not act on the signal before the step itself sees to that, just as when a
    signal comes while native code runs.
    """
    return partial(next, map(ctypes.CDLL(None)["raise"], numbers))


@contextmanager
def a_signal() -> Iterator[Callable[[], bytes]]:
    """Give a function that waits for a signal, or returns at once if one came since the block began."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    before = signal.set_wakeup_fd(theirs)
    try:
        yield lambda: os.read(ours, 1)
    finally:
        signal.set_wakeup_fd(before)
        os.close(ours)
        os.close(theirs)
