"""Ctrl-Z in this process: what is told of the pause, and what is shown again behind it."""

from __future__ import annotations

import io
import signal
import sys

import pytest

from nearlight.terminal import keys
from nearlight.terminal.keys import suspendable
from nearlight.terminal.live import WrappedView
from nearlight.terminal.markdown.layout import MarkdownLayout
from tests.terminal.screen import Screen


def test_the_pause_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 17.5])
    monkeypatch.setattr(keys, "perf_counter", lambda: next(clock))
    stopped: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", stopped.append)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    pauses: list[float] = []
    before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    try:
        with suspendable(pauses.append):
            handler = signal.getsignal(signal.SIGTSTP)
            assert callable(handler)
            handler(signal.SIGTSTP, None)
            assert signal.getsignal(signal.SIGTSTP) is handler  # for the next time
        assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTSTP, before)
    assert pauses == [7.5]
    assert stopped == [signal.SIGTSTP]


def test_without_job_control_nothing_is_done() -> None:
    before = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        with suspendable(lambda seconds: None):
            assert signal.getsignal(signal.SIGTSTP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTSTP, before)


def test_what_may_still_change_is_shown_again_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("nearlight.terminal.live.REDRAW_S", 0)
    screen = Screen(40, 24)
    view = WrappedView(screen, MarkdownLayout())  # type: ignore[arg-type]
    view.push("Done.\n\nA *line* that takes more than a row of it,")
    screen.write("\r\n[1]+  Stopped\r\n$ fg\r\n")
    view.begin_anew()
    view.push(" goes on")
    view.finish()
    rows = [row.rstrip() for row in screen.rows if row.strip()]
    block = ["A *line* that takes more than a row of", "it,"]
    assert rows == ["Done.", *block, "[1]+  Stopped", "$ fg", block[0], "it, goes on"]
