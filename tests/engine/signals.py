"""Signals that come in the middle of a step, sent by what the step itself calls."""

from __future__ import annotations

import ctypes
from functools import partial
from itertools import chain, repeat

from nearlight.kernels.ops import Watch


def sends(number: int, after: int = 0) -> Watch:
    """Return a `watch` that sends this process a signal whenever it is called, except the first `after` times.

    It is made of C alone. So Python does not act on the signal before the step itself sees to that, just as when a
    signal comes while native code runs.
    """
    return partial(next, map(ctypes.CDLL(None)["raise"], chain(repeat(0, after), repeat(number))))
