"""The line a person types into: editing, history, pasted and multi-line text, completion of commands."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.shortcuts import CompleteStyle


class Completable(Protocol):
    """What Tab knows of a command: what it does, and what may follow its name."""

    @property
    def summary(self) -> str: ...

    @property
    def arguments(self) -> Sequence[str]: ...

    @property
    def takes_path(self) -> bool: ...


class LineEditor:
    """Reads messages. Enter sends, Alt-Enter begins a new line; a pasted text stays one message."""

    def __init__(self, commands: Mapping[str, Completable]) -> None:
        self._session: PromptSession[str] = PromptSession(
            history=_history(),
            multiline=True,
            key_bindings=_keys(),
            prompt_continuation="  ",
            completer=CommandCompleter(commands),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,
            enable_suspend=True,
        )

    def read(self, typed: str = "") -> str:
        """Return the next message; `typed` is there to be changed.

        Raises: KeyboardInterrupt at Ctrl-C, EOFError at Ctrl-D.
        """
        return self._session.prompt(FormattedText([("bold ansigreen", "> ")]), default=typed)

    def confirm(self, question: str) -> bool:
        """Ask; whatever is not yes is no."""
        session: PromptSession[str] = PromptSession()  # of its own: answers are no part of the history
        try:
            return session.prompt(question).strip().lower() in ("y", "yes")
        except (KeyboardInterrupt, EOFError):
            return False


def history_path() -> Path:
    """Return where messages are remembered: below $XDG_STATE_HOME, else ~/.local/state."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "nearlight" / "history"


def _history() -> History:
    """Remember in a file that only its owner may read; where there can be none, until the chat ends."""
    path = history_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        with path.open("ab"):
            return FileHistory(str(path))
    except OSError:
        return InMemoryHistory()


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


class CommandCompleter(Completer):
    """Completes /commands at the beginning of a message, and what follows them."""

    def __init__(self, commands: Mapping[str, Completable]) -> None:
        self._commands = commands
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        typed = document.text_before_cursor
        if not typed.startswith("/") or "\n" in typed:
            return
        name, space, argument = typed.partition(" ")
        if not space:
            for command, known in self._commands.items():
                if command.startswith(typed):
                    yield Completion(command, start_position=-len(typed), display_meta=known.summary)
        elif name in self._commands:
            if self._commands[name].takes_path:
                yield from self._paths.get_completions(Document(argument), complete_event)
            for possible in self._commands[name].arguments:
                if possible.startswith(argument):
                    yield Completion(possible, start_position=-len(argument))
