"""What keys do during an answer: what is typed is not shown, and Ctrl-Z gives the terminal back until `fg`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from types import FrameType

from nearlight.terminal.tty import is_terminal


def keys_hidden() -> AbstractContextManager[None]:
    """Keep what is typed during an answer from being printed into it; it waits for the next prompt."""
    return _echo(on=False)


@contextmanager
def suspendable(resumed: Callable[[float], None]) -> Iterator[None]:
    """Within the block, tell `resumed` after each suspension how long it was. Units: seconds."""
    if sys.platform == "win32" or signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:
        yield  # the shell started this without job control
        return

    def suspend(number: int, frame: FrameType | None) -> None:
        began = perf_counter()
        with _echo(on=True):  # as shells expect it to be
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
def _echo(*, on: bool) -> Iterator[None]:
    """Within the block, have the terminal print what is typed, or not."""
    if sys.platform == "win32" or not is_terminal(sys.stdin):
        yield
        return
    import termios

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    changed = list(before)
    changed[3] = changed[3] | termios.ECHO if on else changed[3] & ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSADRAIN, changed)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
