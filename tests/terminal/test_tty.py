"""The size of the terminal: stdout's, or where that is piped on, stderr's."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
from collections.abc import Iterator
from typing import TextIO

import pytest

from nearlight.terminal import tty


@pytest.fixture
def piped() -> Iterator[TextIO]:
    with open(os.devnull, "w") as stream:
        yield stream


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[TextIO]:
    """A terminal of 44 columns and 13 rows."""
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 13, 44, 0, 0))
    with open(follower, "w") as stream:
        yield stream
    os.close(leader)


def test_what_people_read_beside_a_pipe_fits(monkeypatch: pytest.MonkeyPatch, piped: TextIO, narrow: TextIO) -> None:
    for out, errors in ((narrow, piped), (piped, narrow), (narrow, None)):
        monkeypatch.setattr(sys, "__stdout__", out)
        monkeypatch.setattr(sys, "__stderr__", errors)
        assert (tty.width(), tty.height()) == (44, 13)


def test_without_a_terminal(monkeypatch: pytest.MonkeyPatch, piped: TextIO, narrow: TextIO) -> None:
    monkeypatch.setattr(sys, "__stdout__", piped)
    monkeypatch.setattr(sys, "__stderr__", piped)
    assert (tty.width(), tty.height()) == (80, 24)
    monkeypatch.setattr(sys, "__stderr__", narrow)
    monkeypatch.setenv("COLUMNS", "60")
    assert tty.width() == 60
