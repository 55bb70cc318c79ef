"""Shows text while it is being written, in rows no wider than the terminal.

Finished lines are written once and never again; only the unfinished end is live. What has scrolled off the top of the
screen cannot be changed, so of an end taller than the screen only the lower rows are shown until it is finished. So the
screen ends up the same however the text is cut into pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Protocol, TextIO

from nearlight.cli import terminal
from nearlight.cli.live_rows import LiveRows
from nearlight.cli.wrapping import Span, ansi, at_edge, expanded, wrap

REDRAW_S = 0.05
WIDEST_TEXT = 100
"""Longer lines are hard to read."""


class Lines(Protocol):
    """Lays text out in rows as it comes."""

    def push(self, text: str) -> list[list[Span]]:
        """Take text; return the rows it finishes."""

    def tail(self) -> list[list[Span]]:
        """Return the rows of what is not finished."""

    def finish(self) -> list[list[Span]]:
        """End the text; return its last rows."""


class PlainLines:
    """Text as it is, in one style, broken at words."""

    def __init__(self, style: str = "") -> None:
        self._style = style
        self._line = ""

    def push(self, text: str) -> list[list[Span]]:
        *lines, self._line = (self._line + text).split("\n")
        return [row for line in lines for row in self._rows(line)]

    def tail(self) -> list[list[Span]]:
        return self._rows(self._line) if self._line else []

    def finish(self) -> list[list[Span]]:
        rows, self._line = self.tail(), ""
        return rows

    def _rows(self, line: str) -> list[list[Span]]:
        return wrap([(expanded(line), self._style)], text_width())


class WrappedView:
    """Takes text piece by piece and keeps the terminal up to date."""

    def __init__(self, out: TextIO, lines: Lines) -> None:
        self._rows = LiveRows(out)
        self._lines = lines
        self._drawn = 0.0

    def push(self, text: str) -> None:
        """Add text; it is shown at once, or a moment later if much comes."""
        final = self._lines.push(terminal.printable(text))
        now = monotonic()
        if final or now - self._drawn >= REDRAW_S:
            self._drawn = now
            live = [part for row in self._lines.tail() for part in at_edge(row, terminal.width() - 1)]
            self._rows.draw(_written(final), _written(live[-(terminal.height() - 1) :]))

    def begin_anew(self) -> None:
        """Show what may still change once more, where the cursor is now."""
        self._rows.begin_anew()

    def finish(self) -> None:
        """Show all there is, with the cursor at the beginning of a new line."""
        self._rows.draw(_written(self._lines.finish()), [])


def text_width() -> int:
    """Return how many cells a row of text may take."""
    return min(terminal.width() - 1, WIDEST_TEXT)


def _written(rows: Sequence[Sequence[Span]]) -> list[str]:
    return [ansi(row) for row in rows]
