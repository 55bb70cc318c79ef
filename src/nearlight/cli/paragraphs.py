"""Sentences and facts as wide as the terminal, broken between words; a pipe gets each on one line."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TextIO

from nearlight.cli import terminal
from nearlight.cli.terminal import is_terminal

_WIDEST = 110


def filled(text: str, stream: TextIO, indent: str = "") -> str:
    """Break a text into lines as wide as the terminal, between words but not behind a number; a pipe gets one line."""
    if not is_terminal(stream):
        return text.replace("\N{NO-BREAK SPACE}", " ")
    width = min(terminal.width(), _WIDEST)
    bound = re.sub(r"(?<=\d) (?=\S)", "\N{NO-BREAK SPACE}", text)
    lines = textwrap.fill(bound, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\N{NO-BREAK SPACE}", " ")


def aligned(facts: Sequence[tuple[str, str]], stream: TextIO) -> str:
    """Write names in one column and what is to be said of them in the next."""
    column = 2 + max((len(name) for name, _ in facts), default=0)
    return "\n".join(filled(f"{name:<{column}}{text}", stream, " " * column) for name, text in facts)
