"""Cuts Markdown into blocks while it is being written, so that a finished block is rendered once and never again.

Line ends are the model's own, so nearly every line is a block by itself. Only a table has several, since its columns
are as wide as their widest cell; and a line with a pipe in it waits for the next, which says whether it begins a table.
"""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass

from nearlight.terminal.markdown.inline import code_spans

_FENCE = re.compile(r"(?P<quote>(?:[ ]{0,3}>[ ]?)*)[ \t]*(?P<marker>`{3,}|~{3,})[ \t]*(?P<language>[^\s`{]*)[^`]*")
_QUOTE = re.compile(r"(?:[ ]{0,3}>[ ]?)+")
_PIPE = re.compile(r"\\.|(?P<pipe>\|)")
_DELIMITER = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")


@dataclass(frozen=True)
class TextLine:
    text: str


@dataclass(frozen=True)
class Table:
    """A header, what is below it (dashes, with colons where a column is aligned), and rows, in cells as they are."""

    indent: str
    header: tuple[str, ...]
    alignment: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Fence:
    """A line that begins code, in a language that may be empty, or ends it: None."""

    text: str
    language: str | None


@dataclass(frozen=True)
class CodeLine:
    text: str


Block = TextLine | Table | Fence | CodeLine


class BlockSplitter:
    """Takes text as it comes; gives the blocks it finishes. `tail` is what has begun and is not finished."""

    def __init__(self) -> None:
        self._line = ""
        self._waiting: list[str] = []
        self._in_table = False
        self._fence: re.Match[str] | None = None

    @property
    def tail(self) -> list[Block]:
        """What the unfinished lines would be if the text ended here."""
        twin = copy(self)
        twin._waiting = list(self._waiting)
        return twin.finish()

    def push(self, text: str) -> list[Block]:
        *lines, self._line = (self._line + text).split("\n")
        return [block for line in lines for block in self._take(line)]

    def finish(self) -> list[Block]:
        """End the text: whatever is open is finished."""
        line, self._line = self._line, ""
        blocks = [*(self._take(line) if line else []), *self._waited()]
        self._fence = None
        return blocks

    def _take(self, line: str) -> list[Block]:
        if self._fence is not None:
            if not self._leaves_quote(line):
                return [self._code(line)]
            self._fence = None
        if self._in_table and _is_row(line):
            self._waiting.append(line)
            return []
        if self._waiting and not self._in_table and _begins_table(self._waiting[0], line):
            self._waiting.append(line)
            self._in_table = True
            return []
        return [*self._waited(), *self._begin(line)]

    def _begin(self, line: str) -> list[Block]:
        """Take a line that goes on with nothing."""
        self._fence = _FENCE.fullmatch(line)
        if self._fence:
            return [Fence(line, self._fence["language"])]
        if _is_row(line):
            self._waiting = [line]
            return []
        return [TextLine(line)]

    def _waited(self) -> list[Block]:
        """Give the lines that waited."""
        lines, in_table = self._waiting, self._in_table
        self._waiting, self._in_table = [], False
        return [_table(lines)] if in_table else [TextLine(line) for line in lines]

    def _code(self, line: str) -> Block:
        assert self._fence is not None
        marker, bare = self._fence["marker"], line
        if self._fence["quote"] and (quote := _QUOTE.match(line)):
            bare = line[quote.end() :]
        bare = bare.strip()
        if len(bare) < len(marker) or bare != marker[0] * len(bare):
            return CodeLine(line)
        self._fence = None
        return Fence(line, None)

    def _leaves_quote(self, line: str) -> bool:
        return bool(self._fence and self._fence["quote"] and not _QUOTE.match(line))


def _is_row(line: str) -> bool:
    return len(_cells(line)) > 1 or line.strip().startswith("|")


def _begins_table(header: str, line: str) -> bool:
    return "|" in line and bool(_DELIMITER.fullmatch(line)) and len(_cells(header)) == len(_cells(line))


def _table(lines: list[str]) -> Table:
    header, delimiter, *rows = lines
    indent = header[: len(header) - len(header.lstrip(" \t"))]
    return Table(indent, _cells(header), _cells(delimiter), tuple(map(_cells, rows)))


def _cells(line: str) -> tuple[str, ...]:
    """Cut a row at its pipes: not at those in code, and not at those behind a backslash."""
    line = line.strip()
    code = code_spans(line)
    pipes = [
        match.start()
        for match in _PIPE.finditer(line)
        if match["pipe"] and not any(start < match.start() < end for start, end in code)
    ]
    starts, ends = [0, *(at + 1 for at in pipes)], [*pipes, len(line)]
    parts = [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    if pipes and pipes[0] == 0:
        del parts[0]
    if len(parts) > 1 and pipes and pipes[-1] == len(line) - 1:
        del parts[-1]
    return tuple(parts)
