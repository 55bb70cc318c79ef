"""Every command on screens of 40, 80 and 120 columns: no word is cut, and no word of the widest screen is missing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import nearlight
from nearlight.bench import measure, steady
from nearlight.cli import bench, names
from nearlight.cli.chat.repl import chat
from nearlight.cli.chat.settings import Settings
from nearlight.cli.chat.state import Opener
from nearlight.cli.main import COMMANDS, main
from nearlight.cli.plan.report import PlanReport
from nearlight.loading.packed_cache import Entry, PackedCache
from nearlight.package import hub
from nearlight.package.hub import CachedModel
from tests.cli.scripted import ScriptedModel
from tests.terminal.screen import Screen

Show = Callable[..., list[str]]
WIDTHS = [40, 80, 120]
UNBOUNDED = 2000
DRAWN = set("█░|-:")
"""What is drawn as wide as there is room, or not at all."""


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Show:
    """Run a command on a screen of some width; return its lines, as a copy has them."""
    for name in ("HF_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(width: int, *arguments: str, codes: Sequence[int] = (0,)) -> list[str]:
        screen = Screen(width, 24)
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", str(width))
            patch.setenv("LINES", "24")
            patch.setattr(sys, "stdout", screen)
            patch.setattr(sys, "stderr", screen)
            try:
                code = main(arguments)
            except SystemExit as exit:  # argparse, after --help
                code = int(exit.code or 0)
        assert code in codes
        assert_whole(screen)
        return screen.lines

    return run


def assert_whole(screen: Screen) -> None:
    """Only a word that is longer than a row may go on in the next."""
    for line in screen.lines:
        if line not in screen.rows:
            assert len(line.split()) == 1, f"a word is cut at {screen.width} columns: {line!r}"


def words(rows: Sequence[str]) -> set[str]:
    return {word.rstrip(":") for word in " ".join(rows).split() if not set(word) <= DRAWN}


def check(show: Show, *arguments: str, codes: Sequence[int] = (0,), varies: bool = False) -> None:
    """Compare a command's screens with one that is wide enough for everything. `varies`: figures are measured anew."""
    whole = words(show(UNBOUNDED, *arguments, codes=codes))
    assert whole
    for width in WIDTHS:
        rows = show(width, *arguments, codes=codes)
        missing = {word for word in whole - words(rows) if not (varies and any(map(str.isdigit, word)))}
        assert not missing, f"missing at {width} columns: {missing}"


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is called the first time only, and then gives what it gave: what is slow to find out."""
    found: list[Any] = []

    def first(*arguments: Any, **options: Any) -> Any:
        if not found:
            found.append(function(*arguments, **options))
        return found[0]

    return first


@pytest.mark.parametrize("command", [*COMMANDS, ""])
def test_help(show: Show, command: str) -> None:
    check(show, *([command] if command else []), "--help")


@pytest.mark.parametrize("arguments", ["rnu", "run missing.gguf hi", "plan a/b --hardware nowhere", "cache clear x"])
def test_errors(show: Show, arguments: str) -> None:
    check(show, *arguments.split(), codes=(2,))


@pytest.mark.parametrize(
    "arguments",
    [
        "--hardware list",
        "qwen3-32b --hardware rtx4090 --sla ttft=2s,tpot=50ms",
        "qwen3-8b --hardware rtx4090 --weights w4 --think 1000 --speculate 0.7 --sla ttft=2s,tpot=50ms",
    ],
)
def test_plan(show: Show, arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlanReport, "of", once(PlanReport.of))
    check(show, "plan", *arguments.split(), codes=(0, 1))


def test_examples_and_what_they_do_are_apart(show: Show) -> None:
    assert "        measured and predicted, drawn" in show(80, "bench", "--help")


def test_what_is_no_speed_is_not_called_one(show: Show) -> None:
    rows = show(40, "plan", "qwen1.5-7b", "--hardware", "rtx4090")
    assert "tok/s at a context of: 1024" in rows
    assert "first token" in rows
    assert "longest context" in rows
    assert "tok/s at a context of: first token" not in rows


def test_plan_of_this_machine(show: Show) -> None:
    check(show, "plan", varies=True)


def test_roofline(show: Show) -> None:
    check(show, "roofline", "--threads", "1", varies=True)


def test_inspect(show: Show, chat_model: Path) -> None:
    check(show, "inspect", str(chat_model))


def test_bench(show: Show, monkeypatch: pytest.MonkeyPatch, base_model: Path) -> None:
    monkeypatch.setattr(measure, "read_now", lambda threads, source: 40e9)
    monkeypatch.setattr(steady, "waiting_seconds", lambda: 0.0)
    monkeypatch.setattr(bench, "measure", once(measure.measure))
    check(show, "bench", str(base_model), "-p", "8", "-n", "8", "-r", "2", "-t", "1", "--explain", "--no-calibration")


def test_list(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = (
        "Qwen/Qwen3-0.6B",
        "unsloth/DeepSeek-R1-Distill-Qwen-1.5B-GGUF:DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M",
        "组织/模型",
    )
    models = [CachedModel(id, Path("x"), "safetensors", 1_500_000_000, 1.7e9) for id in ids]  # type: ignore[arg-type]
    check(show, "list")
    monkeypatch.setattr(hub, "cached_models", lambda: models)
    check(show, "list")


def test_cache(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    check(show, "cache")
    entry = Entry("a.packed", "DeepSeek-R1-Distill-Qwen-1.5B", "/models/x", "stored bits", 1_234_567_890, 1.7e9)
    monkeypatch.setattr(PackedCache, "entries", lambda self: [entry])
    check(show, "cache", varies=True)


# -- answers -----------------------------------------------------------------------------------------------------------

THOUGHT = "First I think about what was asked, and whether anything of it was asked before; then I answer it. "
ANSWER = (
    "It is **really** dark, since the sun has set some hours ago and will only rise in some hours more.\n\n"
    "| time | light |\n|---|---|\n| noon | as much as there will be on this day, if it is not raining |\n"
)


def scripted(monkeypatch: pytest.MonkeyPatch, *, chats: bool = True, n_answers: int = 9) -> None:
    answer = [*((piece, "thinking") for piece in THOUGHT.split(" ")), *((word, "answer") for word in ANSWER)]
    monkeypatch.setattr(names, "find_model", lambda name, **options: Path("scripted"))
    monkeypatch.setattr(nearlight, "load", lambda path, **options: ScriptedModel([answer] * n_answers, chats=chats))


def test_an_answer(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch)
    check(show, "run", "Why is it dark?")
    rows = show(40, "run", "Why is it dark?")
    assert "It is really dark, since the sun has" in rows
    assert "time: noon" in rows or any(row.startswith("| time") for row in rows)


@pytest.mark.parametrize("chats", [True, False])
def test_a_chat(show: Show, monkeypatch: pytest.MonkeyPatch, chats: bool) -> None:
    def typed() -> Iterator[str]:
        yield from ("Why is it dark?", "/help", "/stats", "/nonsense", "/save", "/clear")

    class Editor:
        def __init__(self, commands: object) -> None:
            self._lines = typed()

        def read(self, typed: str) -> str:
            try:
                return next(self._lines)
            except StopIteration:
                raise EOFError from None

    def converse(arguments: Sequence[str]) -> int:
        opener = Opener(lambda name: Path("scripted"), lambda path, name: nearlight.load(path))
        return chat(opener, Path("scripted"), "org/scripted", Settings({}))

    scripted(monkeypatch, chats=chats, n_answers=chats)  # a completion is never broken, so there is a short one
    monkeypatch.setattr("nearlight.terminal.line_editor.LineEditor", Editor)
    monkeypatch.setattr("nearlight.cli.run.main", converse)
    monkeypatch.setattr("nearlight.terminal.answer.monotonic", lambda: 0.0)
    check(show, "run")


def test_an_answer_without_markdown_is_as_the_model_wrote_it(
    show: Show, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(monkeypatch)
    with monkeypatch.context() as patch:
        screen = Screen(40, 24)
        patch.setattr(sys, "stdout", screen)
        assert main(["run", "-p", "Why?", "--no-markdown", "-q"]) == 0
    assert "\n".join(screen.lines) == ANSWER  # the terminal breaks the lines, and a copy has them whole
    assert main(["run", "-p", "Why?", "-q"]) == 0
    assert capsys.readouterr().out == ANSWER


def test_without_styles_no_mark_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch)
    monkeypatch.setenv("COLUMNS", "40")
    for variable, value, line in (
        ("NO_COLOR", "1", "It is **really** dark, since the sun"),
        ("TERM", "dumb", ANSWER.split("\n")[0]),
    ):
        screen = Screen(40, 24)
        with monkeypatch.context() as patch:
            patch.setenv("TERM", "xterm")
            patch.setenv(variable, value)
            patch.setattr(sys, "stdout", screen)
            assert main(["run", "-p", "Why?", "-q"]) == 0
        assert screen.lines[0] == line


def test_a_completion_is_never_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, chats=False)
    screen = Screen(40, 24)
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["run", "-p", "Why ", "-q"]) == 0
    assert "\n".join(screen.lines) == "Why " + ANSWER


def test_warnings_of_a_model(show: Show, chat_model: Path) -> None:
    check(show, "run", str(chat_model), "hi", "-n", "2", "-v", varies=True)
    assert json.loads((chat_model / "config.json").read_text())["model_type"] == "qwen3"
