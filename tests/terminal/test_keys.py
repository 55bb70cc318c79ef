"""Ctrl-Z at the prompt and during an answer, under a shell with job control."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from nearlight.cli import suspension
from nearlight.cli.markdown_view import MarkdownLines
from nearlight.cli.suspension import suspendable
from nearlight.cli.wrapped_view import WrappedView
from tests.cli.chats import CTRL_C, CTRL_Z, PROMPT, leave, said
from tests.cli.conftest import ROOT
from tests.cli.screen import Screen


@pytest.fixture
def job(environment: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    """A chat as the job of a shell; its first answer waits for a signal twice."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"answers": [said("word " * 3000), said("and on")], "waits_after": [1, 2]}))
    run = ["-m", "tests.cli.job_control", sys.executable, "-m", "tests.cli.scripted", str(script), "run", str(tmp_path)]
    terminal = pexpect.spawn(
        sys.executable, run, env=environment, cwd=str(ROOT), encoding="utf-8", timeout=None, dimensions=(24, 80)
    )
    terminal.expect_exact(PROMPT)
    yield terminal
    terminal.close(force=True)


def test_at_the_prompt_the_typed_line_comes_back(job: Any) -> None:
    job.send("half a")
    job.expect_exact("half a")
    job.send(CTRL_Z)
    job.expect_exact("[stopped, keys shown]")
    job.send("\r")
    job.expect_exact("half a")
    job.send("\x15/exit\r")
    job.expect(pexpect.EOF)


def test_during_an_answer_the_terminal_is_the_shells(job: Any) -> None:
    job.send("Go on\r")
    job.expect_exact("word")
    job.send(CTRL_Z)
    job.expect_exact("[stopped, keys shown]")
    job.send("\r")
    job.expect_exact("word")
    job.send(CTRL_C)
    job.expect_exact("stopped by you")
    job.expect_exact(PROMPT)
    job.send("And?\r")
    job.expect_exact("and on")
    job.expect_exact(PROMPT)
    leave(job)


def test_the_pause_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 17.5])
    monkeypatch.setattr(suspension, "perf_counter", lambda: next(clock))
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
    monkeypatch.setattr("nearlight.cli.wrapped_view.REDRAW_S", 0)
    screen = Screen(40, 24)
    view = WrappedView(screen, MarkdownLines())  # type: ignore[arg-type]
    view.push("Done.\n\nA *line* that takes more than a row of it,")
    screen.write("\r\n[1]+  Stopped\r\n$ fg\r\n")
    view.begin_anew()
    view.push(" goes on")
    view.finish()
    rows = [row.rstrip() for row in screen.rows if row.strip()]
    block = ["A *line* that takes more than a row of", "it,"]
    assert rows == ["Done.", *block, "[1]+  Stopped", "$ fg", block[0], "it, goes on"]
