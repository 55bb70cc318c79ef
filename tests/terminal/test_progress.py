"""The progress bar: for people, when there is something to wait for, and gone at the end."""

from __future__ import annotations

import sys

import pytest
from wcwidth import wcswidth

from nearlight.quantities import bytes_text
from nearlight.terminal import tty
from nearlight.terminal.progress import ProgressBar


class Stderr:
    closed = False

    def __init__(self, *, tty: bool) -> None:
        self.text, self._tty = "", tty

    def isatty(self) -> bool:
        return self._tty

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def test_it_fits_the_window_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(tty=True)
    monkeypatch.setattr(sys, "stderr", stderr)
    for columns in (20, 47, 120):
        monkeypatch.setattr(tty, "width", lambda columns=columns: columns)
        stderr.text = ""
        now = iter([10.0, 11.1, 11.19])
        with ProgressBar("loading a model with a long name", bytes_text, clock=now.__next__) as bar:
            bar.update(3_000_000, 8_000_000)
            bar.update(4_000_000, 8_000_000)  # too soon after the first
        line, erased = stderr.text.split("\x1b[K")[:2]
        assert len(line.strip("\r")) < columns
        assert (erased, stderr.text.count("\r")) == ("\r", 2)
    assert "38%" in line
    assert "3.0 MB of 8.0 MB" in line
    assert "█" in line


def test_a_part_is_told_once_where_there_are_no_amounts(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(tty=True)
    monkeypatch.setattr(sys, "stderr", stderr)
    with ProgressBar("measuring", None, delay_s=0) as bar:
        bar.update(1, 2)
    assert stderr.text.count("50%") == 1
    assert "of" not in stderr.text


def test_wide_characters_fit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(tty=True)
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(tty, "width", lambda: 40)
    with ProgressBar("読み込み中のとても長い名前のモデル", bytes_text, delay_s=0) as bar:
        bar.update(3_000_000, 8_000_000)
    line = stderr.text.split("\x1b[K")[0].strip("\r")
    assert wcswidth(line) < 40
    assert line.startswith("読み込み")


def test_what_is_quick_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(tty=True)
    monkeypatch.setattr(sys, "stderr", stderr)
    now = iter([10.0, 10.9])
    with ProgressBar("loading", clock=now.__next__) as bar:
        bar.update(1, 2)
    assert stderr.text == ""


def test_programs_see_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stderr(tty=False)
    monkeypatch.setattr(sys, "stderr", stream)
    with ProgressBar("loading", delay_s=0) as bar:
        bar.update(1, 2)
    assert stream.text == ""
