"""Shows text while it is being written, in rows no wider than the terminal.

Finished lines are written once, never again, and scroll away as ordinary output; only the unfinished end is live. There
is no full screen and no flicker: a redraw moves up to the first row that differs and writes from there, in one write.
What has scrolled off the top of the screen cannot be changed, so of an end taller than the screen only the lower rows
are shown until it is finished. So the screen ends up the same however the text is cut into pieces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import monotonic
from typing import Protocol, TextIO

from nearlight.terminal import tty
from nearlight.terminal.wrapping import Span, ansi, at_edge, display_width, expand_tabs, wrap

REDRAW_S = 0.05
WIDEST_TEXT = 100
"""Longer lines are hard to read."""

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronized output: a terminal that knows it shows everything in between at once; others ignore it."""

_ERASE_BELOW = "\x1b[B\x1b[J\x1b[A"
"""Begins a row lower, since tmux keeps in its history what is erased from the top left corner."""


class Layout(Protocol):
    """Lays text out in rows as it comes."""

    def push(self, text: str) -> list[list[Span]]:
        """Take text; return the rows it finishes."""

    def tail(self) -> list[list[Span]]:
        """Return the rows of what is not finished."""

    def finish(self) -> list[list[Span]]:
        """End the text; return its last rows."""


class PlainLayout:
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
        return wrap([(expand_tabs(line), self._style)], text_width())


class LiveRows:
    """Final rows above, live rows below, the cursor behind the last of them.

    A live row must not be wider than the terminal; a final row may be, and is wrapped by the terminal itself.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live: list[str] = []
        self._width = tty.width()

    def draw(self, final: Sequence[str], live: Sequence[str]) -> None:
        """Replace the live rows by `final`, never to change again, and then `live`."""
        rows = [*final, *live]
        keep, up = self._unchanged(rows)
        new = rows[keep:]
        parts = []
        if keep < len(self._live):
            parts.append("\r" + (f"\x1b[{up}A\x1b[K{_ERASE_BELOW}" if up else "\x1b[K"))
        elif self._live and new:
            parts.append("\n")
        parts.append("\n".join(new))
        if not live and (new or self._live):
            parts.append("\n")
        self._live = list(live)
        text = "".join(parts)
        if text:
            self._out.write(_BEGIN + text + _END)
            self._out.flush()

    def begin_anew(self) -> None:
        """Leave the live rows where they are: the cursor is elsewhere, at the beginning of a row."""
        self._live = []

    def _unchanged(self, rows: Sequence[str]) -> tuple[int, int]:
        """Return how many live rows stay as they are, and how far up the first other one begins."""
        width = tty.width()
        if width != self._width:
            # The window was resized: terminals wrap rows that no longer fit, so they take more of them now.
            self._width = width
            taken = sum(max(-(-display_width(expand_tabs(_STYLE.sub("", row))) // width), 1) for row in self._live)
            return 0, max(taken - 1, 0)
        keep = 0
        for old, new in zip(self._live, rows, strict=False):
            if old != new:
                break
            keep += 1
        return keep, len(self._live) - 1 - keep


class WrappedView:
    """Takes text piece by piece and keeps the terminal up to date."""

    def __init__(self, out: TextIO, layout: Layout) -> None:
        self._rows = LiveRows(out)
        self._layout = layout
        self._drawn = 0.0

    def push(self, text: str) -> None:
        """Add text; it is shown at once, or a moment later if much comes."""
        final = self._layout.push(tty.printable(text))
        now = monotonic()
        if final or now - self._drawn >= REDRAW_S:
            self._drawn = now
            live = [part for row in self._layout.tail() for part in at_edge(row, tty.width() - 1)]
            self._rows.draw(_written(final), _written(live[-(tty.height() - 1) :]))

    def begin_anew(self) -> None:
        """Show what may still change once more, where the cursor is now."""
        self._rows.begin_anew()

    def finish(self) -> None:
        """Show all there is, with the cursor at the beginning of a new line."""
        self._rows.draw(_written(self._layout.finish()), [])


def text_width() -> int:
    """Return how many cells a row of text may take."""
    return min(tty.width() - 1, WIDEST_TEXT)


def _written(rows: Sequence[Sequence[Span]]) -> list[str]:
    return [ansi(row) for row in rows]
