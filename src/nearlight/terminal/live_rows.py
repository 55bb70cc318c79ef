"""Text at the bottom of a terminal that changes while it grows: only the rows that changed are written again.

Rows that are final scroll away as ordinary output; the others are live. There is no full screen and no flicker: a
redraw moves up to the first row that differs and writes from there, in one write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TextIO

from nearlight.cli import terminal
from nearlight.cli.wrapping import cells, expanded

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronized output: a terminal that knows it shows everything in between at once; others ignore it."""

_ERASE_BELOW = "\x1b[B\x1b[J\x1b[A"
"""Begins a row lower, since tmux keeps in its history what is erased from the top left corner."""


class LiveRows:
    """Final rows above, live rows below, the cursor behind the last of them.

    A live row must not be wider than the terminal; a final row may be, and is wrapped by the terminal itself.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live: list[str] = []
        self._width = terminal.width()

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
        width = terminal.width()
        if width != self._width:
            # The window was resized: terminals wrap rows that no longer fit, so they take more of them now.
            self._width = width
            taken = sum(max(-(-cells(expanded(_STYLE.sub("", row))) // width), 1) for row in self._live)
            return 0, max(taken - 1, 0)
        keep = 0
        for old, new in zip(self._live, rows, strict=False):
            if old != new:
                break
            keep += 1
        return keep, len(self._live) - 1 - keep
