"""What Tab completes."""

from __future__ import annotations

from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from nearlight.cli.chat.commands import COMMANDS
from nearlight.terminal.line_editor import CommandCompleter
from tests.cli.chats import Chat, said


def completed(typed: str) -> list[str]:
    found = CommandCompleter(COMMANDS).get_completions(Document(typed), CompleteEvent())
    return [typed[: len(typed) + each.start_position] + each.text for each in found]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("/re", ["/regenerate"]),
        ("/s", ["/system", "/save", "/set", "/stats"]),
        ("/set te", ["/set temperature"]),
        ("/set top", ["/set top_k", "/set top_p"]),
        ("/unset see", ["/unset seed"]),
        ("/think o", ["/think on", "/think off"]),
        ("/nothing x", []),
        ("no /re", []),
        ("/re\n/re", []),
    ],
)
def test_commands_and_settings_are_completed(typed: str, expected: list[str]) -> None:
    assert completed(typed) == expected


@pytest.mark.parametrize("command", ["/load", "/save", "/model"])
def test_paths_are_completed(command: str, tmp_path: Path) -> None:
    (tmp_path / "chat one.json").touch()
    assert completed(f"{command} {tmp_path}/ch") == [f"{command} {tmp_path}/chat one.json"]


def test_tab_in_the_terminal(chat: Chat) -> None:
    terminal = chat([said("a")])
    terminal.send("/set temp\t 0.25\r")
    terminal.expect(r"temperature\s+0\.25\s+set here")
    terminal.send("/unse\t")
    terminal.expect_exact("/unset")
