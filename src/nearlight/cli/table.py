"""Columns of text that line up: for people on a terminal, and still plain text in a pipe."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TextIO

from nearlight.cli.terminal import BOLD, styled


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), stream: TextIO) -> str:
    """Lay rows out under a header; the columns numbered in `right` are aligned to the right."""
    widths = [max(cells(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = (_pad(cell, widths[i], i in right) for i, cell in enumerate(row))
        return "  ".join(padded).rstrip()

    return "\n".join((styled(line(header), BOLD, stream), *map(line, rows)))


def cells(text: str) -> int:
    """Count the character cells a text takes: wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - cells(text))
    return space + text if right else text + space
