"""Lays an answer in Markdown out in rows while it is being written.

Every line of the model's is a line on the screen. Text is styled and broken at words; code is written as it is, since
the terminal breaks long lines so that a copy has them whole. A table's cells are aligned between its bars, so that what
is copied is a table again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nearlight.terminal import tty
from nearlight.terminal.live import text_width
from nearlight.terminal.markdown.blocks import Block, BlockSplitter, CodeLine, Fence, Table, TextLine
from nearlight.terminal.markdown.code import CodeHighlighter
from nearlight.terminal.markdown.inline import bold, hang_of, open_code, styled_line, styled_words
from nearlight.terminal.table import Cell, Grid, fitted, name_values
from nearlight.terminal.tty import DIM
from nearlight.terminal.wrapping import Span, expand_tabs, wrap

_ALIGNMENT = {(False, False): "left", (True, False): "left", (True, True): "center", (False, True): "right"}


class MarkdownLayout:
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
                rows.append(self._highlighter.preview(expand_tabs(block.text)))
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
            return _table(block, text_width())
        if isinstance(block, Fence):
            return [[(block.text, DIM)]]
        shown = expand_tabs(block.text)
        return wrap(styled_line(shown, self._open_code), text_width(), min(hang_of(shown), tty.width() // 3))


# -- tables ------------------------------------------------------------------------------------------------------------


def _table(table: Table, width: int) -> list[list[Span]]:
    """Return the lines of a table, none wider than `width` unless a word is.

    Cells that are too wide together are broken into lines, with rules between the rows; as a last resort each row
    becomes lines "name: value", the rows an empty line apart.
    """
    indent = expand_tabs(table.indent)[: width // 3]
    room = width - len(indent)
    n_columns = max(map(len, (table.header, *table.rows)))
    header, *rows = [_row(cells, n_columns) for cells in (table.header, *table.rows)]
    header = [bold(cell) for cell in header]
    delimiters = [*table.alignment, *["-"] * (n_columns - len(table.alignment))]
    shortest: list[Cell] = [[("---", "")]] * n_columns
    widths = fitted([header, shortest, *rows], room - 4, between=3)
    lines = _as_name_values(header, rows, room) if widths is None else _grid(header, rows, delimiters, widths)
    return [[(indent, ""), *line] if indent and line else line for line in lines]


def _row(cells: Sequence[str], n_columns: int) -> list[Cell]:
    return [styled_words(expand_tabs(cell)) for cell in (*cells, *[""] * (n_columns - len(cells)))]


def _grid(
    header: Sequence[Cell], rows: Sequence[Sequence[Cell]], delimiters: Sequence[str], widths: Sequence[int]
) -> list[list[Span]]:
    sides = [(delimiter.startswith(":"), delimiter.endswith(":")) for delimiter in delimiters]
    grid = Grid(widths, [_ALIGNMENT[side] for side in sides], bars=("| ", " | ", " |"))
    dashes = [_dashes(width, *side) for width, side in zip(widths, sides, strict=True)]
    rule: list[Span] = [(f"| {' | '.join(dashes)} |", DIM)]
    body = [grid.lines(row, DIM) for row in rows]
    lines = [*grid.lines(header, DIM), rule]
    broken = any(len(row) > 1 for row in body)
    for number, row in enumerate(body):
        lines += [rule, *row] if broken and number else row
    return lines


def _dashes(width: int, left: bool, right: bool) -> str:
    return ":" * left + "-" * (width - left - right) + ":" * right


def _as_name_values(header: Sequence[Cell], rows: Sequence[Sequence[Cell]], room: int) -> list[list[Span]]:
    if not rows:
        return [line for name in header for line in wrap(name, room)]
    lines: list[list[Span]] = []
    for number, row in enumerate(rows):
        lines += [[], *name_values(header, row, room)] if number else name_values(header, row, room)
    return lines
