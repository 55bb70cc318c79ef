"""Lays an answer in Markdown out in rows while it is being written.

Every line of the model's is a line on the screen. Text is styled and broken at words, tables are aligned; code is
written as it is, since the terminal breaks long lines so that a copy has them whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from nearlight.terminal import tty
from nearlight.terminal.live import text_width
from nearlight.terminal.markdown.blocks import Block, BlockSplitter, CodeLine, Fence, Table, TextLine
from nearlight.terminal.markdown.code import CodeHighlighter
from nearlight.terminal.markdown.inline import hang_of, open_code, styled_line
from nearlight.terminal.markdown.table import table_lines
from nearlight.terminal.tty import DIM
from nearlight.terminal.wrapping import Span, expanded, wrap


class MarkdownLines:
    """Takes Markdown; gives the rows it finishes."""

    def __init__(self) -> None:
        self._splitter = BlockSplitter()
        self._highlighter = CodeHighlighter("")
        self._open_code = ""

    def push(self, text: str) -> list[list[Span]]:
        return self._finished(self._splitter.push(text))

    def finish(self) -> list[list[Span]]:
        return self._finished(self._splitter.finish())

    def tail(self) -> list[list[Span]]:
        rows = []
        for block in self._splitter.tail:
            if isinstance(block, CodeLine):
                rows.append(self._highlighter.preview(expanded(block.text)))
            else:
                rows += self._rows(block)
        return rows

    def _finished(self, blocks: Iterable[Block]) -> list[list[Span]]:
        rows = []
        for block in blocks:
            if isinstance(block, CodeLine):
                rows.append(self._highlighter.line(block.text))
                continue
            if isinstance(block, Fence):
                self._highlighter = CodeHighlighter(block.language or "")
            new = self._rows(block)
            if isinstance(block, TextLine) and "\t" in block.text and len(new) == 1:
                new = [styled_line(block.text, self._open_code)]  # tabs stay tabs where nothing had to be broken
            rows += new
            self._open_code = open_code(block.text) if isinstance(block, TextLine) else ""
        return rows

    def _rows(self, block: TextLine | Table | Fence) -> list[list[Span]]:
        if isinstance(block, Table):
            return table_lines(block, text_width())
        if isinstance(block, Fence):
            return [[(block.text, DIM)]]
        shown = expanded(block.text)
        return wrap(styled_line(shown, self._open_code), text_width(), min(hang_of(shown), tty.width() // 3))
