"""The chat, through a terminal of its own: what a person types, and what is on the screen then."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pexpect
import pytest

from nearlight.cli.chat import repl as chat_module
from nearlight.cli.chat.commands import COMMANDS
from nearlight.terminal import tty
from nearlight.terminal.answer import AnswerView
from tests.cli.chats import ALT_ENTER, CTRL_C, PROMPT, UP, Chat, leave, said, saved_by, scripted_chat
from tests.cli.conftest import ROOT


def test_a_conversation(chat: Chat, tmp_path: Path, environment: dict[str, str]) -> None:
    terminal = chat([said("It is **dark** outside."), said("Because it is night.")])
    assert "Scripted-7B" in terminal.before
    assert "context 512 tokens, 3 threads" in terminal.before
    terminal.send("Hello\r")
    terminal.expect_exact("\x1b[1mdark\x1b[0m outside.")
    terminal.expect_exact("decode 20 tok/s")
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
    terminal = chat([said("word " * 400), said("still here")], waits_after=[1])
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


def test_commands(chat: Chat) -> None:
    terminal = chat([said("one two three")])

    def after(line: str, *expected: str) -> None:
        terminal.send(line + "\r")
        for text in expected:
            terminal.expect_exact(text)
        terminal.expect_exact(PROMPT)

    after("/help", "/clear", "/system [TEXT]", "/save FILE", "/load FILE", "/stats", "/exit", "Ctrl-C  ")
    after("/stats", "no answer yet")
    after("/foo", "unknown command /foo; /help lists them")
    after("/system", "no instructions are set")
    after("/system Be brief.", "instructions set")
    after("/system", "[?2004lBe brief.")
    after("Hello", "one two three", "decode 20 tok/s")
    after(
        "/stats",
        "1 answer, 3 tokens, decode 20 tok/s",
        "11 of 512 tokens, 11 kB of KV cache; 0 of the last prompt's 8",
    )
    after("/clear", "cleared; the instructions stay")
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
    chat = scripted_chat(capsys, ["one two three"])

    def interrupted(view: AnswerView, text: str, channel: str) -> None:
        if text == "two ":
            raise KeyboardInterrupt

    monkeypatch.setattr(AnswerView, "push", interrupted)
    assert "stopped by you" in chat.type("Count")
    assert chat.contents == ["Count", "one two"]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_help_is_grouped_and_fits(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(tty, "is_terminal", lambda stream: True)
    rows = scripted_chat(capsys, []).type("/help").splitlines()
    assert max(map(len, rows)) <= width
    assert [row for row in rows if row and not row.startswith(" ")] == [
        "What was said",
        "How it is answered",
        "Besides",
        "Keys",
    ]
    named = {row.split()[0] for row in rows if row.startswith("  /")}
    assert named == set(COMMANDS)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("/lod x", "unknown command /lod; did you mean /load? /help lists all; a space in front makes it a message"),
        ("/rety", "unknown command /rety; did you mean /retry? /help lists all; a space in front makes it a message"),
        ("/xyzzy", "unknown command /xyzzy; /help lists them; a space in front makes it a message"),
    ],
)
def test_unknown_commands_suggest_the_nearest(typed: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert scripted_chat(capsys, []).type(typed) == told


def test_notes_wrap_at_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(tty, "is_terminal", lambda stream: True)
    chat_module._note("unknown command /regenrate; did you mean /regenerate? /help lists all")
    assert capsys.readouterr().err == "unknown command /regenrate; did you mean\n/regenerate? /help lists all\n"
