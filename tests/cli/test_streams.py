"""Outputs that are full, closed, or that nobody reads, for every command: one line, or silence, and no defect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT

COMMANDS = {
    "overview": "--help",
    "help": "run --help",
    "version": "--version",
    "run": "run MODEL lazy -n 3",
    "answer": "run MODEL lazy -n 3 --no-echo --json",
    "inspect": "inspect MODEL",
    "plan": "plan --hardware list",
    "roofline": "roofline --help",
    "bench": "bench --help",
    "pull": "pull --help",
    "list": "list --json",
    "cache": "cache --json",
}


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest, base_model: Path) -> str:
    return f"{sys.executable} -m nearlight " + COMMANDS[request.param].replace("MODEL", str(base_model))


@pytest.fixture
def shell(environment: dict[str, str]):
    def run(line: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line], env=environment | more, cwd=ROOT, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize("buffering", ["", "1"])
def test_a_full_disk(shell, command: str, buffering: str) -> None:
    done = shell(f"{command} </dev/null >/dev/full", PYTHONUNBUFFERED=buffering)
    assert (done.returncode, done.stderr) == (2, "nearlight: stdout cannot be written (No space left on device)\n")


def test_a_closed_stdout(shell, command: str) -> None:
    done = shell(f"{command} </dev/null >&-")
    assert (done.returncode, done.stderr) == (2, "nearlight: stdout cannot be written (Bad file descriptor)\n")


@pytest.mark.parametrize("buffering", ["", "1"])
def test_nobody_reads(shell, command: str, buffering: str) -> None:
    # The reader is gone before anything is written: it was told to go by the end of what it reads from.
    line = f"exec 3> >(exec <&-); wait $!; {command} </dev/null >&3; exit $?"
    done = shell(line, PYTHONUNBUFFERED=buffering)
    assert (done.returncode, done.stderr) == (141, "")


def test_closed_stdin_and_stderr(shell, base_model: Path) -> None:
    run = f"{sys.executable} -m nearlight run {base_model} lazy -n 1 --temp 0"
    wanted = shell(f"{run} </dev/null").stdout
    assert wanted.startswith("lazy")
    for closed in ("<&-", "2>&-", "<&- 2>&-"):
        done = shell(f"{run} {closed}")
        assert (done.returncode, done.stdout) == (0, wanted)


def test_no_room_for_messages(shell) -> None:
    for command in ("nonsense", "list"):
        done = shell(f"{sys.executable} -m nearlight {command} 2>/dev/full")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
