"""Styles a line of Markdown without changing it: the one mark that is left out is a pair of ** around bold words.

A terminal shows what a model said, and what is shown is copied. So a mark is left out only where it cannot be anything
else, and only where that makes the text easier to read; other marks are styled and stay. What looks like emphasis often
is none: `__init__`, `2 * 3 * 4`, `**/*.py`, `f(**a, **b)`, "**" in quotes. The rules here are CommonMark's for a mark's
neighbours (https://spec.commonmark.org/0.31.2/#emphasis-and-strong-emphasis), made stricter, and within one line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from nearlight.terminal.tty import BOLD, DIM
from nearlight.terminal.wrapping import Span

CODE, ITALIC = "36", "3"

_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+\S.*")
_RULE = re.compile(r" {0,3}([-*_=])(?:[ \t]*\1){2,}[ \t]*")
_QUOTE = re.compile(r" {0,3}(?:>[ \t]?)+")
_LEAD = re.compile(r"[ \t]*(?:(?:>[ \t]?)+|[-*+•][ \t]+(?:\[[ xX]\][ \t]+)?|\d{1,9}[.)][ \t]+)?")
_MARK = re.compile(r"\\.|(?P<ticks>`+)|(?P<stars>\*+)")
_BEFORE_OPENING = frozenset("([“‘«„¿¡—–")
_NUMBER = re.compile(r"\A\w{1,3}\)")
_BRACKETS = {")": "(", "]": "[", "}": "{"}


def hang_of(line: str) -> int:
    """Return how far the rows that go on with a line are indented: as its text, behind a bullet or a number."""
    return len(_LEAD.match(line)[0]) if line else 0  # type: ignore[index]  # the pattern matches anything


def styled_line(line: str, open_code: str = "") -> list[Span]:
    """Return a line's text with its styles. `open_code`: the backticks of code that the line before left open."""
    end = _end_of_code(line, open_code, 0) if open_code else None
    if end is not None:
        return [(line[:end], CODE), *styled_words(line[end:])]
    if _RULE.fullmatch(line):
        return [(line, DIM)]
    if _HEADING.fullmatch(line):
        return bold(styled_words(line))
    quote = _QUOTE.match(line)
    if quote:
        return [(quote[0], DIM), *styled_words(line[quote.end() :])]
    return styled_words(line)


def styled_words(text: str) -> list[Span]:
    """Style the words of a line or of a table's cell: code, bold, italic."""
    spans: list[Span] = []
    done = at = 0
    while mark := _MARK.search(text, at):
        at = mark.end()
        if mark["ticks"]:
            end = _end_of_code(text, mark["ticks"], at)
            if end is None:
                break  # code that goes on in the next line, or an apostrophe: nothing behind it is certain
            spans += [(text[done : mark.start()], ""), (text[mark.start() : end], CODE)]
            done = at = end
        elif mark["stars"]:
            if not _opens(text, mark):
                continue
            end = _end_of_emphasis(text, mark)
            if end is None and mark[0] == "**":
                break  # as with code
            if end is None:
                continue
            inner = text[mark.end() : end]
            spans.append((text[done : mark.start()], ""))
            done = at = end + len(mark[0])
            if len(mark[0]) == 2:
                spans += bold(styled_words(inner))
            else:
                spans.append((text[mark.start() : done], ITALIC))
    return [span for span in (*spans, (text[done:], "")) if span[0]]


def bold(spans: Iterable[Span]) -> list[Span]:
    """Make spans bold, whatever else they are."""
    return [(text, f"{BOLD};{style}" if style and style != BOLD else BOLD) for text, style in spans]


def code_spans(text: str) -> list[tuple[int, int]]:
    """Return where code between backticks begins and ends."""
    found, at = [], 0
    while mark := _MARK.search(text, at):
        at = mark.end()
        end = _end_of_code(text, mark["ticks"], at) if mark["ticks"] else None
        if end is not None:
            found.append((mark.start(), end))
            at = end
    return found


def open_code(line: str) -> str:
    """Return the backticks that begin code which the line does not end; nothing where there are none."""
    behind = max((end for _, end in code_spans(line)), default=0)
    marks = (mark["ticks"] for mark in _MARK.finditer(line, behind))
    return next((ticks for ticks in marks if ticks), "")


def _end_of_code(text: str, ticks: str, start: int) -> int | None:
    """Return where code ends: behind as many backticks as it began with."""
    closing = re.compile(f"(?<!`){ticks}(?!`)").search(text, start)
    return closing.end() if closing else None


def _end_of_emphasis(text: str, opening: re.Match[str]) -> int | None:
    """Return where the stars are that close what `opening` opens; None where it is not certain that it does."""
    stars, at = opening[0], opening.end()
    while mark := _MARK.search(text, at):
        at = mark.end()
        if mark["ticks"]:
            end = _end_of_code(text, mark["ticks"], at)
            if end is None:
                return None
            at = end
        elif mark["stars"] and (mark[0] == stars or len(mark[0]) > 2):
            inner = text[opening.end() : mark.start()]
            return mark.start() if mark[0] == stars and _closes(text, mark) and _whole(inner) else None
    return None


def _opens(text: str, stars: re.Match[str]) -> bool:
    """Whether one or two stars stand before a word and behind none, and not in a string of code."""
    start, end = stars.span()
    before, after = text[max(start - 1, 0) : start], text[end : end + 1]
    if end - start > 2 or not after or after.isspace() or text.count('"', 0, start) % 2:
        return False
    if not before or before.isspace():
        return after != "/"  # **/*.py
    return (before in _BEFORE_OPENING or _wide(before)) and _in_word(after)


def _closes(text: str, stars: re.Match[str]) -> bool:
    """Whether stars stand behind a word and before none."""
    before, after = text[stars.start() - 1], text[stars.end() : stars.end() + 1]
    return not before.isspace() and (not after or _wide(after) or not _in_word(after))


def _whole(inner: str) -> bool:
    """Whether a text says something, and its brackets and quotes are all opened and closed in it."""
    opened = []
    for letter in _NUMBER.sub("", inner):
        if letter in "([{":
            opened.append(letter)
        elif letter in _BRACKETS and (not opened or opened.pop() != _BRACKETS[letter]):
            return False
    return not opened and inner.count('"') % 2 == 0 and any(map(str.isalnum, inner))


def _in_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def _wide(letter: str) -> bool:
    """Whether a character belongs to a script that puts no spaces between words."""
    return unicodedata.east_asian_width(letter) in "WF"
