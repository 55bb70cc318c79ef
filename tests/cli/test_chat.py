"""The chat, through a terminal of its own: what a person types, and what is on the screen then."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from nearlight.cli import chat as chat_module
from nearlight.cli.answer_view import AnswerView
from nearlight.cli.chat_commands import ChatState
from nearlight.cli.dialogue import open_dialogue
from tests.cli.conftest import ROOT
from tests.cli.scripted import ScriptedModel

Chat = Callable[..., Any]
CTRL_C, CTRL_D, ALT_ENTER, UP = "\x03", "\x04", "\x1b\r", "\x1b[A"
PROMPT = "> "


def said(text: str) -> list[list[str]]:
    return [[word + " ", "answer"] for word in text.split(" ")]


@pytest.fixture
def chat(environment: dict[str, str], tmp_path: Path) -> Iterator[Chat]:
    """Open a chat with a scripted model: `chat(answers, chats=True, waits_after=None)`."""
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


def leave(terminal: Any) -> None:
    terminal.send(CTRL_D)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def saved_by(terminal: Any, path: Path) -> Any:
    terminal.send(f"/save {path}\r")
    terminal.expect_exact("saved to")
    terminal.expect_exact(PROMPT)
    return json.loads(path.read_text())


def test_a_conversation(chat: Chat, tmp_path: Path, environment: dict[str, str]) -> None:
    terminal = chat([said("It is **dark** outside."), said("Because it is night.")])
    assert "Scripted-7B" in terminal.before
    assert "context 512 tokens, 3 threads" in terminal.before
    terminal.send("Hello\r")
    terminal.expect_exact("\x1b[1mdark\x1b[0m outside.")
    terminal.expect_exact("of this machine's limit")
    terminal.expect_exact(PROMPT)
    terminal.send("Why, 日本?\r")
    terminal.expect_exact("Because it is night.")
    terminal.expect_exact(PROMPT)
    messages = saved_by(terminal, tmp_path / "chat.json")["messages"]
    assert [message["content"].strip() for message in messages] == [
        "Hello",
        "It is **dark** outside.",
        "Why, 日本?",
        "Because it is night.",
    ]
    leave(terminal)
    history = Path(environment["XDG_STATE_HOME"]) / "nearlight" / "history"
    assert "+Why, 日本?" in history.read_text(encoding="utf-8")
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_several_lines_are_one_message(chat: Chat, tmp_path: Path) -> None:
    terminal = chat([said("ok"), said("fine")])
    terminal.send("\x1b[200~pasted one\npasted two\n\nthree\x1b[201~\r")
    terminal.expect_exact("ok")
    terminal.expect_exact(PROMPT)
    terminal.send(f"typed one{ALT_ENTER}typed two\r")
    terminal.expect_exact("fine")
    terminal.expect_exact(PROMPT)
    asked = [m["content"] for m in saved_by(terminal, tmp_path / "c.json")["messages"] if m["role"] == "user"]
    assert asked == ["pasted one\npasted two\n\nthree", "typed one\ntyped two"]


def test_ctrl_c_stops_the_answer_and_keeps_the_chat(chat: Chat, tmp_path: Path) -> None:
    terminal = chat([said("word " * 400), said("still here")], waits_after=1)
    terminal.send("Go on\r")
    terminal.expect_exact("word")
    terminal.send(CTRL_C)
    terminal.expect_exact("stopped by you")
    terminal.expect_exact(PROMPT)
    answer = saved_by(terminal, tmp_path / "c.json")["messages"][1]
    assert answer["role"] == "assistant"
    assert answer["content"] == "word "
    terminal.send(CTRL_C)
    terminal.expect_exact("Ctrl-D or /exit leaves")
    terminal.send("More\r")
    terminal.expect_exact("still here")
    leave(terminal)


def test_thinking_is_dimmed_and_timed(chat: Chat) -> None:
    terminal = chat([[["A thought.", "thinking"], ["So: 4.", "answer"]]])
    terminal.send("2+2\r")
    terminal.expect_exact("\x1b[2mA thought.\x1b[0m")
    terminal.expect(r"\(thought for .+ s\)")
    terminal.expect_exact("So: 4.")


def test_commands(chat: Chat, tmp_path: Path) -> None:
    terminal = chat([said("one two three")])

    def after(line: str, *expected: str) -> None:
        terminal.send(line + "\r")
        for text in expected:
            terminal.expect_exact(text)
        terminal.expect_exact(PROMPT)

    after("/help", "/system [TEXT]", "/save FILE", "/load FILE", "/stats", "/clear", "/exit", "Ctrl-C  ")
    after("/stats", "no answer yet")
    after("/foo", "unknown command /foo; /help lists them")
    after("/system", "no instructions are set")
    after("/system Be brief.", "instructions set")
    after("/system", "[?2004lBe brief.")
    after("Hello", "one two three", "machine's limit")
    after(
        "/stats",
        "1 answer, 3 tokens, decode 20 tok/s",
        "10 of 512 tokens, 10 kB of cache; 3 of the last prompt's 7 tokens were in the cache",
    )
    path = tmp_path / "c.json"
    before = saved_by(terminal, path)
    after("/clear", "cleared; the instructions stay")
    assert saved_by(terminal, tmp_path / "empty.json")["messages"] == []
    after(f"/load {path}", "loaded 2 messages")
    assert saved_by(terminal, tmp_path / "again.json") == before
    after("/load nowhere.json", "cannot be read (No such file or directory)")
    (tmp_path / "bad.json").write_text("[1]")
    after(f"/load {tmp_path}/bad.json", "not a saved chat")
    after(f"/save {tmp_path}/bad.json", "is there already, and is no saved chat")
    assert (tmp_path / "bad.json").read_text() == "[1]"
    after("/save", "no file named: expected /save FILE")
    terminal.send("/exit\r")
    terminal.expect(pexpect.EOF)


def test_a_base_model_completes_one_growing_text(chat: Chat, tmp_path: Path) -> None:
    terminal = chat([[["(x):\n    return **x", "answer"]], [["pass", "answer"]]], chats=False)
    assert "what you type is completed" in terminal.before
    terminal.send("def f\r")
    terminal.expect_exact("def f(x):\r\n    return **x")  # code stays code: no Markdown
    terminal.expect_exact(PROMPT)
    terminal.send("def g(): \r")
    terminal.expect_exact("def g(): pass")
    terminal.expect_exact(PROMPT)
    assert saved_by(terminal, tmp_path / "c.json")["text"] == "def f(x):\n    return **x\ndef g(): pass"
    terminal.send("/system Be brief.\r")
    terminal.expect_exact("this model only completes text")


def test_a_chat_model_completes_if_told_to(chat: Chat) -> None:
    terminal = chat([[["onacci", "answer"]]], "--raw")
    assert "what you type is completed" in terminal.before
    terminal.send("def fib\r")
    terminal.expect_exact("def fibonacci")


def test_instructions_from_the_command_line(chat: Chat) -> None:
    terminal = chat([], "--system", "Be kind.")
    terminal.send("/system\r")
    terminal.expect_exact("[?2004lBe kind.")


def test_history_comes_back_in_the_next_chat(chat: Chat) -> None:
    first = chat([said("ok")])
    first.send("remember me\r")
    first.expect_exact("ok")
    first.expect_exact(PROMPT)  # keys pressed before it are not its own
    leave(first)
    second = chat([said("again")])
    second.send(UP + "\r")
    second.expect_exact("remember me")
    second.expect_exact("again")


def test_a_real_model(environment: dict[str, str], chat_model: Path) -> None:
    arguments = ["-m", "nearlight", "run", str(chat_model), "-n", "4", "--temperature", "0"]
    terminal = pexpect.spawn(sys.executable, arguments, env=environment, cwd=str(ROOT), encoding="utf-8", timeout=None)
    terminal.expect_exact(PROMPT)
    for _ in range(2):
        terminal.send("hello\r")
        terminal.expect("4 tokens · TTFT .* tok/s")
        terminal.expect_exact(PROMPT)
    terminal.send("/stats\r")
    found = terminal.expect([r"\s(\d+) of the last prompt's (\d+)", "Traceback"])
    assert found == 0
    cached, prompt = int(terminal.match[1]), int(terminal.match[2])
    assert prompt // 3 < cached < prompt  # the first turn was not computed again
    leave(terminal)


def test_ctrl_c_between_two_tokens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = ScriptedModel([said("one two three")])
    state = ChatState(model, open_dialogue(model, None, {}))  # type: ignore[arg-type]

    def interrupted(view: AnswerView, text: str, channel: str) -> None:
        if text == "two ":
            raise KeyboardInterrupt

    monkeypatch.setattr(AnswerView, "push", interrupted)
    chat_module._answer(state, "Count", quiet=True)
    assert state.dialogue.saved()["messages"] == [
        {"role": "user", "content": "Count"},
        {"role": "assistant", "content": "one two "},
    ]
