"""Ctrl-Z during an answer: the terminal is given back as a shell wants it, and taken again when the program goes on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from types import FrameType

from nearlight.cli.terminal import is_terminal


@contextmanager
def suspendable(resumed: Callable[[float], None]) -> Iterator[None]:
    """Within the block, tell `resumed` after each suspension how long it was. Units: seconds."""
    if sys.platform == "win32" or signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:
        yield  # the shell started this without job control
        return

    def suspend(number: int, frame: FrameType | None) -> None:
        began = perf_counter()
        with _keys_shown():
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, suspend)
        resumed(perf_counter() - began)

    signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)


@contextmanager
def _keys_shown() -> Iterator[None]:
    """Have the terminal print what is typed, as shells expect it to."""
    import termios

    if not is_terminal(sys.stdin):
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    shown = list(before)
    shown[3] |= termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSADRAIN, shown)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
