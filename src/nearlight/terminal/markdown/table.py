"""Lays out a table of Markdown: the model's cells between aligned bars, so that what is copied is a table again."""

from __future__ import annotations

from collections.abc import Sequence

from nearlight.terminal.markdown.blocks import Table
from nearlight.terminal.markdown.inline import bold, styled_words
from nearlight.terminal.table import Cell, Grid, fitted, record
from nearlight.terminal.tty import DIM
from nearlight.terminal.wrapping import Span, expanded, wrap

_ALIGNMENT = {(False, False): "left", (True, False): "left", (True, True): "center", (False, True): "right"}


def table_lines(table: Table, width: int) -> list[list[Span]]:
    """Return the lines of a table, none wider than `width` unless a word is.

    Cells that are too wide together are broken into lines, with rules between the rows; as a last resort each row
    becomes lines "name: value", the rows an empty line apart.
    """
    indent = expanded(table.indent)[: width // 3]
    room = width - len(indent)
    n_columns = max(map(len, (table.header, *table.rows)))
    header, *rows = [_row(cells, n_columns) for cells in (table.header, *table.rows)]
    header = [bold(cell) for cell in header]
    delimiters = [*table.alignment, *["-"] * (n_columns - len(table.alignment))]
    shortest: list[Cell] = [[("---", "")]] * n_columns
    widths = fitted([header, shortest, *rows], room - 4, between=3)
    lines = _records(header, rows, room) if widths is None else _grid(header, rows, delimiters, widths)
    return [[(indent, ""), *line] if indent and line else line for line in lines]


def _row(cells: Sequence[str], n_columns: int) -> list[Cell]:
    return [styled_words(expanded(cell)) for cell in (*cells, *[""] * (n_columns - len(cells)))]


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


def _records(header: Sequence[Cell], rows: Sequence[Sequence[Cell]], room: int) -> list[list[Span]]:
    if not rows:
        return [line for name in header for line in wrap(name, room)]
    lines: list[list[Span]] = []
    for number, row in enumerate(rows):
        lines += [[], *record(header, row, room)] if number else record(header, row, room)
    return lines
