"""Ctrl-Z at the prompt and during an answer, under a shell with job control."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.cli.chats import CTRL_C, CTRL_Z, PROMPT, leave, said
from tests.cli.conftest import ROOT


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
