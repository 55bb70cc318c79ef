"""Cuts Markdown into blocks while it is being written, so that a finished block is rendered once and never again.

A paragraph, a heading, an item of a list at the margin, a table are blocks of text; code between fences comes line by
line. Whatever is not finished yet is the tail, the only part that is rendered again as it grows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<marker>`{3,}|~{3,})[ \t]*(?P<language>[^\s`]*)[^`]*")
_MAYBE_FENCE = re.compile(r"[ \t]*(`{1,2}|~{1,2}|`{3}[^`]*|~{3}.*)")
_ITEM = re.compile(r"([-*+]|\d{1,9}[.)])[ \t]")
_HEADING = re.compile(r"#{1,6}[ \t]")


@dataclass(frozen=True)
class TextBlock:
    """A finished block of Markdown. `spaced` says that an empty line comes before it."""

    source: str
    spaced: bool


@dataclass(frozen=True)
class FenceOpened:
    language: str


@dataclass(frozen=True)
class CodeLine:
    text: str


@dataclass(frozen=True)
class FenceClosed:
    pass


Block = TextBlock | FenceOpened | CodeLine | FenceClosed


class BlockSplitter:
    """Takes text as it comes; gives the blocks it finishes. `tail` is what has begun and is not finished."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line = ""
        self._blank = False
        self._spaced = False
        self._fence: re.Match[str] | None = None

    @property
    def in_code(self) -> bool:
        return self._fence is not None

    @property
    def tail(self) -> TextBlock:
        """The unfinished block; a line that may still turn out to be a fence is left out."""
        if self.in_code:
            text = "" if self._closes(self._line, partly=True) else self._unindented(self._line)
            return TextBlock(text, False)
        line = "" if _MAYBE_FENCE.fullmatch(self._line) else self._line
        gap = [""] if self._blank and self._lines else []
        source = "\n".join((*self._lines, *gap, line)).rstrip("\n")
        return TextBlock(source, self._spaced or (self._blank and not self._lines))

    def push(self, text: str) -> list[Block]:
        *lines, self._line = (self._line + text).split("\n")
        blocks: list[Block] = []
        for line in lines:
            blocks += self._code(line) if self.in_code else self._text(line)
        # A line that begins a new block finishes the one before it as soon as that much can be seen.
        if self._lines and not self.in_code and self._line.strip() and self._begins_block(self._line):
            blocks += self._flush()
        return blocks

    def finish(self) -> list[Block]:
        """End the text: whatever is open is finished."""
        line, self._line = self._line, ""
        if not self.in_code:
            return [*self._text(line), *self._flush()]
        ends = not line.strip() or self._closes(line, partly=True)
        blocks: list[Block] = [] if ends else self._code(line)
        self._fence = None
        return [*blocks, FenceClosed()]

    def _text(self, line: str) -> list[Block]:
        blocks: list[Block] = []
        if not line.strip():
            self._blank = True
            return blocks
        if self._lines and self._begins_block(line):
            blocks += self._flush()
        fence = _FENCE.fullmatch(line)
        if fence:
            blocks += self._flush()
            self._fence, self._blank, self._spaced = fence, False, True
            return [*blocks, FenceOpened(fence["language"])]
        if not self._lines:
            self._spaced = self._spaced or self._blank
        elif self._blank:
            self._lines.append("")
        self._blank = False
        self._lines.append(line)
        return [*blocks, *self._flush(spaced_after=True)] if _HEADING.match(line) else blocks

    def _begins_block(self, line: str) -> bool:
        """Whether a line cannot belong to the block before it."""
        if self._blank and not line[0].isspace():
            return True
        if _HEADING.match(line):
            return True
        return bool(_ITEM.match(line) and self._lines and _ITEM.match(self._lines[0]))

    def _flush(self, *, spaced_after: bool = False) -> list[Block]:
        if not self._lines:
            return []
        block = TextBlock("\n".join(self._lines), self._spaced)
        self._lines, self._spaced = [], spaced_after
        return [block]

    def _code(self, line: str) -> list[Block]:
        if self._closes(line):
            self._fence, self._blank, self._spaced = None, False, True
            return [FenceClosed()]
        return [CodeLine(self._unindented(line))]

    def _closes(self, line: str, *, partly: bool = False) -> bool:
        if self._fence is None:
            return False
        marker, bare = self._fence["marker"], line.strip()
        if partly:
            return bool(bare) and bare == marker[0] * len(bare)
        return len(bare) >= len(marker) and bare == marker[0] * len(bare)

    def _unindented(self, line: str) -> str:
        """Take off the indentation of the fence itself, as it has inside a list."""
        indent = len(self._fence["indent"]) if self._fence else 0
        return line[indent:] if not line[:indent].strip() else line
