"""What the command line's tests share: the command itself, homes of its own, small packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.cli.chats import PROMPT, Chat
from tests.cli.packages import write_chat_model

ROOT = Path(__file__).parents[2]
KERNELS = ("NEARLIGHT_ISA", "NEARLIGHT_PACE")  # which ones, and how fast, is for whoever runs the tests to say
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing of the user's is read or written, and no network is reached."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "NEARLIGHT_", "NO_COLOR", "XDG_")) or name in KERNELS
    }
    return kept | {
        "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT)))),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "COLUMNS": "160",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "TERM": "xterm-256color",
    }


@pytest.fixture
def nearlight(environment: dict[str, str]) -> Command:
    """The command, as a process of its own: `nearlight("run", …, stdin=…)`."""

    def run(*arguments: str, stdin: str | None = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "nearlight", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=environment | more,
            cwd=ROOT,
            check=False,
        )

    return run


@pytest.fixture
def chat(environment: dict[str, str], tmp_path: Path) -> Iterator[Chat]:
    """Open a chat with a scripted model: `chat(answers, *flags, chats=True, waits_after=(), context=512)`."""
    opened = []

    def open_chat(answers: list[list[list[str]]], *flags: str, **settings: Any) -> Any:
        script = tmp_path / "script.json"
        script.write_text(json.dumps({"answers": answers, **settings}))
        terminal = pexpect.spawn(
            sys.executable,
            ["-m", "tests.cli.scripted", str(script), "run", str(tmp_path), *flags],
            env=environment,
            cwd=str(ROOT),
            encoding="utf-8",
            timeout=None,
            dimensions=(24, 80),
        )
        opened.append(terminal)
        terminal.expect_exact(PROMPT)
        return terminal

    yield open_chat
    for terminal in opened:
        terminal.close(force=True)


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model of random weights, as transformers writes it."""
    return write_chat_model(tmp_path_factory.mktemp("models") / "Tiny-Chat")


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a chat template: it completes."""
    return write_chat_model(tmp_path_factory.mktemp("models") / "Tiny-Base", template=None)
