"""Text in rows no wider than the terminal: how wide characters are, and where a line may be broken.

A line is broken between words, and between wide characters, whose languages write no spaces. A word (an address, a
path) that is longer than a row gets a row of its own and is left whole: the terminal breaks it at its edge and, when
it is copied, puts it together again.

A styled text is a list of spans, a text with its style each, so that it can be measured and cut as what is seen of it.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TextIO

from nearlight.terminal import tty

Span = tuple[str, str]
"""A text, and the style it is written in: the arguments of an SGR sequence, or nothing."""

WIDEST = 120
"""Sentences in longer lines are hard to read."""

TAB_CELLS = 8
"""Terminals put tab stops so far apart."""

_ZERO_WIDTH = {"Mn", "Me", "Cf", "Zl", "Zp"}
_SOFT_HYPHEN, _EMOJI_STYLE, _JOINER = "\xad", "\ufe0f", "\u200d"
_CLOSING = frozenset(")]}>\"'’”,.:;!?%、。，．：；！？）］｝〉》」』】〕…‥・ー々～")
_OPENING = frozenset("([{<\"'‘“（［｛〈《「『【〔")
_WORD = re.compile(r"[^ ]+")
_WORD_WITH_UNIT = re.compile(r"[^ ]+(?:(?<=\d) (?=[^ \d])[^ ]+)?")
_LEFT_AND_RIGHT = re.compile(r"(?P<left> *\S.*?  +)(?P<right>\S.*)")


# -- how wide ----------------------------------------------------------------------------------------------------------


def display_width(text: str) -> int:
    """Count the character cells a text takes.

    Wide characters take two, marks that join the character before them none. Terminals differ about emoji made of
    several characters; counted is what the widest of them shows, so that no row is ever too long.
    """
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    if character == _EMOJI_STYLE:
        return 1  # makes the character before it a wide one
    joins = unicodedata.category(character) in _ZERO_WIDTH and character != _SOFT_HYPHEN
    return 0 if joins or "\u1160" <= character <= "\u11ff" else 1


def expand_tabs(text: str) -> str:
    """Put spaces in the place of tabs, as far as a terminal goes at each."""
    if "\t" not in text:
        return text
    parts, column = [], 0
    for part in re.split(r"(\t)", text):
        shown = " " * (TAB_CELLS - column % TAB_CELLS) if part == "\t" else part
        parts.append(shown)
        column += display_width(shown)
    return "".join(parts)


# -- where to break ----------------------------------------------------------------------------------------------------


def wrap(spans: Sequence[Span], width: int, hang: int = 0) -> list[list[Span]]:
    """Break a styled line into rows; all but the first begin with `hang` spaces. Only a long word makes a row wider."""
    text = "".join(part for part, _ in spans)
    rows: list[list[Span]] = []
    for start, end in _rows(text, width, hang, _WORD):
        margin = [(" " * hang, "")] if rows and hang else []
        rows.append(margin + cut(spans, start, end))
    return rows


def cut(spans: Sequence[Span], start: int, end: int) -> list[Span]:
    """Return the characters from `start` to `end`, styled as they were."""
    found, at = [], 0
    for text, style in spans:
        part = text[max(start - at, 0) : max(end - at, 0)]
        if part:
            found.append((part, style))
        at += len(text)
    return found


def at_edge(spans: Sequence[Span], width: int) -> list[list[Span]]:
    """Break a row where a terminal does: wherever its edge is."""
    text = "".join(part for part, _ in spans)
    starts, column = [0], 0
    for index, character in enumerate(text):
        before, column = column, _after(character, column)
        if column > width and before:
            starts.append(index)
            column = _after(character, 0)
    return [cut(spans, start, end) for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _after(character: str, column: int) -> int:
    """Return the column behind a character: a tab goes on to the next stop."""
    return column + (TAB_CELLS - column % TAB_CELLS if character == "\t" else _char_width(character))


def clipped(text: str, width: int) -> str:
    """Return as much of the beginning of a text as has room."""
    return "".join(part for part, _ in at_edge([(text, "")], width)[0])


def _rows(text: str, width: int, hang: int, word: re.Pattern[str]) -> list[tuple[int, int]]:
    """Return where each row begins and ends; the spaces between them are in none."""
    rows: list[tuple[int, int]] = []
    start = end = column = 0
    for first, last in _pieces(text, word):
        gap, size = first - end, display_width(text[first:last])
        if column + gap + size <= width or (end == start and size > width - hang):
            column += gap + size
        else:
            rows.append((start, end))
            start, column = first, hang + size
        end = last
    spaces = min(len(text) - end, max(width - column, 0))
    return [*rows, (start, end + spaces)]


def _pieces(text: str, word: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Find what stays in one row: words, and single characters of languages without spaces."""
    for match in word.finditer(text):
        start, end = match.span()
        if not match[0].isascii():
            for index in range(start + 1, end):
                if _may_break(text[index - 1], text[index]):
                    yield start, index
                    start = index
        yield start, end


def _may_break(before: str, after: str) -> bool:
    if before == _JOINER or after in _CLOSING or before in _OPENING or "\U0001f3fb" <= after <= "\U0001f3ff":
        return False
    wide = _char_width(before) == 2 or (_char_width(after) == 2)
    return wide and _char_width(after) > 0 and after != _EMOJI_STYLE


# -- for people --------------------------------------------------------------------------------------------------------


def ansi(spans: Sequence[Span]) -> str:
    """Write spans as a terminal takes them."""
    parts = [(style, "".join(text for text, _ in group)) for style, group in groupby(spans, lambda span: span[1])]
    return "".join(f"\x1b[{style}m{text}\x1b[0m" if style else text for style, text in parts)


def say(text: str, style: str = "", stream: TextIO | None = None) -> None:
    """Tell a person something: on stderr, if not on another stream."""
    stream = stream or sys.stderr
    print(tty.styled(filled(text, stream), style, stream), file=stream)


def filled(text: str, stream: TextIO, indent: str = "", margin: int = 0) -> str:
    """Break the lines of a text for a person at a terminal; whatever else reads the stream gets them whole.

    A number stays with what it counts. Of two columns, the right one is broken within itself. `margin`: cells of the
    terminal that are not to be used.
    """
    if not tty.is_terminal(stream):
        return text
    return folded(text, min(tty.width(), WIDEST) - margin, indent)


def folded(text: str, width: int, indent: str = "") -> str:
    """Break the lines of a text at a width; rows that go on with a line begin with its own spaces and `indent`."""
    return "\n".join(row for line in text.split("\n") for row in _folded(line, width, indent))


def _folded(line: str, width: int, indent: str) -> list[str]:
    if display_width(line) <= width:
        return [line.rstrip()]
    margin = len(line) - len(line.lstrip(" "))
    columns = _LEFT_AND_RIGHT.fullmatch(line)
    if columns is None:
        return _plain_rows(line, width, margin + (len(indent) or 2 * bool(margin)))
    left, right, column = columns["left"], columns["right"], display_width(columns["left"])
    if column <= width // 2:
        return _plain_rows(line, width, column)
    below = " " * (margin + 6)
    return [*_plain_rows(left.rstrip(), width, margin + 2), *_plain_rows(below + right, width, len(below))]


def _plain_rows(line: str, width: int, hang: int) -> list[str]:
    hang = min(hang, width // 2)
    rows = [line[start:end] for start, end in _rows(line, width, hang, _WORD_WITH_UNIT)]
    return [rows[0].rstrip(), *(" " * hang + row.rstrip() for row in rows[1:])]
