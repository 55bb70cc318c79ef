"""/save and /load: what a file holds, and what is asked before something is lost."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.chats import PROMPT, Chat, TypedChat, said, saved_by, scripted_chat

Capture = pytest.CaptureFixture[str]
MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]


def write(path: Path, **content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def answering(chat: TypedChat, answer: bool) -> list[str]:
    """Answer every question so; return the list that questions will be in."""
    asked: list[str] = []
    chat.state.ask = lambda question: asked.append(question) or answer  # type: ignore[func-returns-value]
    return asked


def test_a_saved_chat_comes_back(capsys: Capture, tmp_path: Path) -> None:
    chat = scripted_chat(capsys, ["one", "two"], system="Be brief.")
    chat.type("Hello")
    path = tmp_path / "c.json"
    assert chat.type(f"/save {path}").split() == ["saved", "to", str(path)]
    content = json.loads(path.read_text())
    assert content.keys() == {"model", "source", "saved", "messages"}
    assert (content["model"], content["source"]) == ("Scripted-7B", "org/scripted")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(content["saved"])).total_seconds()) < 3600
    chat.type("/clear")
    when = datetime.fromisoformat(content["saved"]).astimezone().strftime("%Y-%m-%d %H:%M")
    told = chat.type(f"/load {path}")
    assert " ".join(told.split()) == f"loaded a chat with Scripted-7B: 3 messages, saved {when}"
    assert chat.contents == ["Be brief.", "Hello", "one"]
    assert "two" in chat.type("More")


def test_loading_asks_before_an_unsaved_chat_is_lost(capsys: Capture, tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", model="Scripted-7B", messages=MESSAGES, saved="2026-11-20T10:11:12+00:00")
    chat = scripted_chat(capsys, ["one", "two"])
    questions = answering(chat, False)
    chat.type("Hello")
    assert chat.type(f"/load {path}") == "not loaded\n"
    when = datetime(2026, 11, 20, 10, 11, 12, tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    about = f"a chat with Scripted-7B: 2 messages, saved {when}"
    assert questions == [f"{about}; replace the chat at hand, which is not saved?"]
    assert chat.contents == ["Hello", "one"]
    answering(chat, True)
    assert chat.type(f"/load {path}") == "loaded\n"  # what was told in the question is not told again
    assert chat.contents == ["Hi", "Hello!"]
    questions = answering(chat, False)
    assert "loaded a chat" in chat.type(f"/load {path}")  # nothing was said since
    chat.type("More")
    assert chat.type(f"/load {path}") == "not loaded\n"
    chat.type(f"/save {tmp_path}/own.json")
    assert "loaded a chat" in chat.type(f"/load {path}")
    assert len(questions) == 1


def test_saving_asks_before_another_chat_is_overwritten(capsys: Capture, tmp_path: Path) -> None:
    other = write(tmp_path / "other.json", model="M", messages=MESSAGES, saved="2026-11-20T10:11:12+00:00")
    chat = scripted_chat(capsys, ["one", "two"])
    questions = answering(chat, False)
    chat.type("Hello")
    assert chat.type(f"/save {other}") == "not saved\n"
    assert questions[0].startswith(f"{other} holds a chat with M: 2 messages, saved 2026-11-20")
    assert json.loads(other.read_text())["model"] == "M"
    answering(chat, True)
    assert chat.type(f"/save {other}").startswith("saved to")
    questions = answering(chat, False)
    assert chat.type(f"/save {other}").startswith("saved to")  # it is this chat's own by now
    assert questions == []


def test_another_file_is_never_overwritten(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("[1]")
    chat = scripted_chat(capsys, [])
    told = "is there already, and is no saved chat; choose another name"
    assert chat.type(f"/save {tmp_path}/notes.json").endswith(told)
    assert (tmp_path / "notes.json").read_text() == "[1]"
    assert chat.type("/save /dev/full").endswith(told)
    assert chat.type(f"/save {tmp_path}").endswith(told)
    assert chat.type("/save") == "no file named: expected /save FILE"
    assert "cannot be written (No such file or directory)" in chat.type(f"/save {tmp_path}/no/c.json")


@pytest.mark.parametrize(
    "content",
    ["", "[1]", "{}", '{"model": "M"}', '{"messages": []}', "\ud800", "[" * 100_000, '{"model": "M", "messages": 3}'],
)
def test_what_is_no_saved_chat_is_told_and_changes_nothing(capsys: Capture, tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    chat = scripted_chat(capsys, ["one"])
    chat.type("Hello")
    chat.type(f"/save {tmp_path}/own.json")
    told = chat.type(f"/load {path}")
    assert "not a saved chat" in told or told == "messages: expected a list, as /save writes for a model that chats"
    assert chat.contents == ["Hello", "one"]


def test_files_that_cannot_be_read(capsys: Capture, tmp_path: Path) -> None:
    chat = scripted_chat(capsys, [])
    assert chat.type("/load nowhere.json") == "nowhere.json: cannot be read (No such file or directory)"
    assert chat.type("/load /dev/zero") == "/dev/zero: is no file"
    assert chat.type(f"/load {tmp_path}") == f"{tmp_path}: is no file"


def test_a_chat_made_with_another_model_says_so_and_how_to_have_that(capsys: Capture, tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", model="Other-3B\x1b[2J", source="org/other", messages=MESSAGES)
    os.utime(path, (86400 * 365, 86400 * 365))
    chat = scripted_chat(capsys, [])
    first, second = chat.type(f"/load {path}").splitlines()
    assert first.startswith("loaded a chat with Other-3B␛[2J: 2 messages, saved 1971-01-01")  # of the file
    assert second == "it goes on with Scripted-7B; /model org/other loads Other-3B␛[2J"
    assert chat.contents == ["Hi", "Hello!"]


def test_a_chat_of_the_other_kind_is_refused(capsys: Capture, tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", model="Base-1B", source="/models/base", text="def f")
    told = scripted_chat(capsys, []).type(f"/load {path}")
    refusal = "holds a text to complete made with Base-1B, and this is a chat; /model /models/base loads Base-1B"
    assert told == f"{path}: {refusal}"
    chat = scripted_chat(capsys, ["(x)"], chats=False)
    assert " ".join(chat.type(f"/load {path}").split()).startswith("loaded a chat with Base-1B: 5 characters")
    chat.type("more ")
    assert chat.state.dialogue.saved() == {"text": "def f\nmore (x) "}
    path = write(tmp_path / "c.json", model="M", messages=MESSAGES)
    assert chat.type(f"/load {path}") == f"{path}: holds a chat made with M, and this is a text to complete"


def test_the_question_in_a_terminal(chat: Chat, tmp_path: Path) -> None:
    terminal = chat([said("one"), said("two")])
    terminal.send("Hello\r")
    terminal.expect_exact("one")
    terminal.expect_exact(PROMPT)
    path = tmp_path / "c.json"
    saved_by(terminal, path)
    terminal.send("More\r")
    terminal.expect_exact("two")
    terminal.expect_exact(PROMPT)
    for answer, told in (("\r", "not loaded"), ("n\r", "not loaded"), ("\x04", "not loaded"), ("y\r", "loaded")):
        terminal.send(f"/load {path}\r")
        terminal.expect(r"not\s+saved\?\s+\[y/N\]")
        terminal.send(answer)
        terminal.expect_exact(f"[?2004l{told}")
        terminal.expect_exact(PROMPT)
    assert len(saved_by(terminal, path)["messages"]) == 2
