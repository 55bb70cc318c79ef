"""What tests of the chat share: scripted answers, chats without a terminal, and what is typed into them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pexpect
import pytest

from nearlight.cli.chat import repl as chat_module
from nearlight.cli.chat.settings import Settings
from nearlight.cli.chat.state import ChatState, Opener
from nearlight.errors import NearlightError
from tests.cli.scripted import ScriptedModel

Chat = Callable[..., Any]
"""Opens a chat with a scripted model in a terminal: the fixture `chat`."""

CTRL_C, CTRL_D, CTRL_Z, ALT_ENTER, UP = "\x03", "\x04", "\x1a", "\x1b\r", "\x1b[A"
PROMPT = "> "


def said(text: str) -> list[list[str]]:
    """Make an answer of a token a word."""
    return [[word + " ", "answer"] for word in text.split(" ")]


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


class TypedChat:
    """A chat with a model, without a terminal: `type` gives what a line put on the screen."""

    def __init__(
        self, model: Any, capsys: pytest.CaptureFixture[str], *, system: str | None = None, **flags: Any
    ) -> None:
        def none(*arguments: Any) -> Any:
            raise AssertionError("no other model is asked for")

        self.model = model
        opener = Opener(none, lambda path, name: model)
        self.state: ChatState = ChatState(opener, Path("scripted"), "org/scripted", Settings(flags), system)
        self._capsys = capsys

    def type(self, line: str) -> str:
        self._capsys.readouterr()
        try:
            with redirect_stderr(sys.stdout):  # as a terminal has it: in order
                chat_module._handle(self.state, line, quiet=False)
        except NearlightError as error:
            return str(error)
        return self._capsys.readouterr().out

    @property
    def contents(self) -> list[str]:
        """The messages, without the space that ends a scripted answer."""
        return [message["content"].strip() for message in self.state.dialogue.saved()["messages"]]


def scripted_chat(
    capsys: pytest.CaptureFixture[str], answers: list[str], *, context: int = 512, chats: bool = True, **flags: Any
) -> TypedChat:
    """Open a chat with a model that gives these answers."""
    model = ScriptedModel([said(answer) for answer in answers], context=context, chats=chats)
    return TypedChat(model, capsys, **flags)
