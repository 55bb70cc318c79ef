"""What a terminal can do and how large it is; the styles of text; and text that cannot drive it."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from typing import TextIO

_CONTROLS = str.maketrans(
    {code: chr(0x2400 + code) for code in range(0x20)}
    | dict.fromkeys(range(0x80, 0xA0), "\ufffd")
    | {0x7F: "\u2421", ord("\t"): "\t", ord("\n"): "\n", ord("\r"): None}
)
"""What stands for control characters: their pictures, ␛ for escape. Carriage returns are left out."""

BOLD, DIM, YELLOW = "1", "2", "33"


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads (or types) this stream directly."""
    return not stream.closed and stream.isatty()


def has_colours(stream: TextIO) -> bool:
    """Whether styles may be written to a stream. Source: no-color.org."""
    return moves_cursor(stream) and not os.environ.get("NO_COLOR")


def moves_cursor(stream: TextIO) -> bool:
    """Whether what is on the screen can be written anew."""
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str, stream: TextIO) -> str:
    """Wrap a text in a style where the stream has styles."""
    return f"\x1b[{style}m{text}\x1b[0m" if text and style and has_colours(stream) else text


def width() -> int:
    """Return the terminal's width in characters, read anew because windows change."""
    return max(_size().columns, 20)


def height() -> int:
    """Return the terminal's height in rows."""
    return max(_size().lines, 4)


def _size() -> os.terminal_size:
    """Return the size of stdout's terminal; where stdout is piped on, of stderr's, which people then read."""
    size = os.terminal_size((80, 24))
    with suppress(AttributeError, ValueError, OSError):
        size = os.get_terminal_size(sys.__stderr__.fileno())  # type: ignore[union-attr]
    return shutil.get_terminal_size((size.columns or 80, size.lines or 24))


def printable(text: str) -> str:
    """Show the control characters with which a model (or a file it repeats) could drive the terminal, harmlessly."""
    return text.translate(_CONTROLS)
