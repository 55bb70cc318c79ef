"""Columns of text that line up: for people on a terminal, and still plain text in a pipe.

Where the terminal is too narrow, cells are broken into lines; where even that would cut words or leave a few letters a
line, every row becomes a block of lines, "name: value".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from nearlight.terminal.tty import BOLD, is_terminal, styled, width
from nearlight.terminal.wrapping import Span, ansi, display_width, filled, wrap

Cell = Sequence[Span]

READABLE = 12
"""A column that is broken into lines should have as many cells of the screen, or what its widest word needs."""


@dataclass(frozen=True)
class Grid:
    """Columns of fixed widths, "left", "right" or "center", and what is drawn around and between them."""

    widths: Sequence[int]
    alignment: Sequence[str]
    bars: tuple[str, str, str] = ("", "  ", "")

    def lines(self, row: Sequence[Cell], bar_style: str = "") -> list[list[Span]]:
        """Lay a row out, in as many lines as its longest cell takes."""
        columns = [wrap(cell, width) for cell, width in zip(row, self.widths, strict=True)]
        left, between, right = ((bar, bar_style) for bar in self.bars)
        lines = []
        for number in range(max(map(len, columns))):
            line = [left]
            for index, column in enumerate(columns):
                cell = column[number] if number < len(column) else []
                line += [*self._padded(cell, index), between]
            lines.append([span for span in (*line[:-1], right) if span[0]])
        return lines

    def _padded(self, cell: Cell, index: int) -> list[Span]:
        spare = max(self.widths[index] - _size(cell), 0)
        before = {"left": 0, "right": spare, "center": spare // 2}[self.alignment[index]]
        return [(" " * before, ""), *cell, (" " * (spare - before), "")]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), stream: TextIO) -> str:
    """Lay rows out under a header; the columns numbered in `right` are aligned to the right.

    Rows after an empty one say in their first column what they are, so as blocks they go without its name.
    """
    whole = [[[(cell, "")] for cell in row] for row in (header, *rows)]
    widths = fitted(whole, width() if is_terminal(stream) else None, between=2)
    if widths is None:
        split = next((index for index, row in enumerate(rows) if not any(row)), len(rows))
        blocks = [_block(header, row) for row in rows[:split]]
        return "\n\n".join([*blocks, *(_block(("", *header[1:]), row) for row in rows[split + 1 :])])
    grid = Grid(widths, ["right" if index in right else "left" for index in range(len(header))])
    first, *others = ["\n".join(ansi(line).rstrip() for line in grid.lines(row)) for row in whole]
    return "\n".join((styled(first, BOLD, stream), *others))


def facts(known: Sequence[tuple[str, str]], stream: TextIO) -> str:
    """Write names in one column, and what is to be said of them in the next."""
    column = 2 + max((len(name) for name, _ in known), default=0)
    return "\n".join(filled(f"{name:<{column}}{text}", stream) for name, text in known)


def fitted(rows: Sequence[Sequence[Cell]], room: int | None, between: int) -> list[int] | None:
    """Return how wide columns are, with `between` cells from one to the next, to fit into `room` (None: any).

    They are as wide as their widest cell; else room is shared so that cells take about equally many lines. None where
    that would be hard to read.
    """
    columns = list(zip(*rows, strict=True))
    natural = [max(map(_size, column)) for column in columns]
    spare = None if room is None else room - between * (len(columns) - 1)
    if spare is None or sum(natural) <= spare:
        return natural
    words = [max(map(_longest, column)) for column in columns]
    widths = [max(min(widest, READABLE), word) for widest, word in zip(natural, words, strict=True)]
    if sum(widths) > spare:
        return None
    for _ in range(spare - sum(widths)):
        neediest = max(range(len(widths)), key=lambda index: natural[index] / max(widths[index], 1))
        widths[neediest] += 1
    return widths


def name_values(header: Sequence[Cell], row: Sequence[Cell], room: int) -> list[list[Span]]:
    """Write a row as lines "name: value"; a column without a name has its value only."""
    lines = []
    for name, value in zip(header, row, strict=True):
        label = [*name, (": ", "")] if _size(name) else []
        if _size([*label, *value]):
            lines += wrap([*label, *value], room, hang=2)
    return lines


def _block(header: Sequence[str], row: Sequence[str]) -> str:
    columns = [(name, value) for name, value in zip(header, row, strict=True) if value]
    names, values = ([[(text, "")] for text in texts] for texts in zip(*columns, strict=True))
    return "\n".join(ansi(line).rstrip() for line in name_values(names, values, width()))


def _size(cell: Cell) -> int:
    return sum(display_width(text) for text, _ in cell)


def _longest(cell: Cell) -> int:
    """Return what a cell's widest word takes."""
    return max(_size(line) for line in wrap(cell, 1))
