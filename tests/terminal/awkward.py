"""Answers that are easily spoiled, what of each may be missing on the screen, and how the screen is read back.

`awkward_answers.txt` has them one after another, each below a line `%%% name`. What is to happen to a part is written
into it:

    ⟪**⟫           the model said **, and it is certainly markup: it must be missing
    ⟪table⟫ ⟪end⟫   lines of their own around a table; a pipe that separates cells is written ¦
    ⟪ESC⟫ ⟪TAB⟫ …   a character that is hard to see in a file

Everything else must be on the screen, character by character: no ** may be missing that is not marked so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.terminal.screen import size_of

CHARACTERS = {
    "ESC": "\x1b", "TAB": "\t", "CR": "\r", "NUL": "\0", "BEL": "\a", "BS": "\b", "DEL": "\x7f", "CSI": "\x9b",
    "SP": " ", "NBSP": "\xa0", "ZWJ": "\u200d", "VS16": "\ufe0f", "RLM": "\u200f", "ACUTE": "\u0301",
}  # fmt: skip
SHOWN = {"\x1b": "␛", "\r": "", "\0": "␀", "\a": "␇", "\b": "␈", "\x7f": "␡", "\x9b": "\ufffd"}
"""What stands for a character that would drive the terminal."""

_NAMED = re.compile("⟪([A-Z0-9]+)⟫")
_RULE = re.compile(r"\| :?-+:?(?: \| :?-+:?)* \|")


@dataclass(frozen=True)
class TableRows:
    """The cells of a table, header first, and its second line."""

    indent: str
    rows: list[list[str]]
    alignment: list[tuple[bool, bool]]


@dataclass(frozen=True)
class Answer:
    """What a model said, and what of it is to be on the screen: lines, and tables."""

    name: str
    said: str
    shown: list[str | TableRows]


def read_answers() -> list[Answer]:
    text = (Path(__file__).parent / "awkward_answers.txt").read_text(encoding="utf-8")
    parts = re.split(r"^%%% (.*)\n", text, flags=re.MULTILINE)[1:]
    return [_answer(name, body[:-1]) for name, body in zip(parts[::2], parts[1::2], strict=True)]


def _answer(name: str, body: str) -> Answer:
    body = _NAMED.sub(lambda match: CHARACTERS[match[1]], body)
    said = re.sub(r"^⟪table⟫\n|\n⟪end⟫$", "", body, flags=re.MULTILINE).replace("⟪**⟫", "**").replace("¦", "|")
    assert "⟪" not in said, name
    for character, picture in SHOWN.items():
        body = body.replace(character, picture)
    shown: list[str | TableRows] = []
    lines = iter(body.replace("⟪**⟫", "").split("\n"))
    for line in lines:
        if line == "⟪table⟫":
            shown.append(_table(list(iter(lambda: next(lines), "⟪end⟫"))))
        else:
            shown.append(_without_tabs(line).rstrip(" "))
    return Answer(name, said, shown)


def _table(lines: Sequence[str]) -> TableRows:
    header, second, *rows = [[cell.strip() for cell in line.strip().strip("¦").split("¦")] for line in lines]
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    n_columns = max(map(len, (header, *rows)))
    padded = [[*row, *[""] * (n_columns - len(row))] for row in (header, *rows)]
    return TableRows(indent, padded, [(cell.startswith(":"), cell.endswith(":")) for cell in second])


def _without_tabs(line: str) -> str:
    while "\t" in line:
        before, _, after = line.partition("\t")
        line = before + " " * (8 - sum(map(size_of, before)) % 8) + after
    return line


def read_back(answer: Answer, lines: Sequence[str], width: int) -> None:
    """Undo what the screen did to an answer: wrapping and the layout of tables. Raises: AssertionError for any loss."""
    rest = [line.rstrip(" ") for line in lines]
    if not answer.said.endswith("\n"):
        assert rest.pop() == ""  # the cursor is at the beginning of a new line
    for part in answer.shown:
        if isinstance(part, TableRows):
            _read_table(part, rest, width)
        else:
            _read_line(part, rest, width)
    assert not rest


def _read_line(expected: str, rest: list[str], width: int) -> None:
    """Take the rows of one line; between two of them stands a space, or a character that takes two cells."""
    assert rest, f"missing: {expected!r}"
    row = rest.pop(0)
    assert expected.startswith(row), f"expected {expected!r}, found {row!r}"
    done, hang = len(row), None
    while done < len(expected):
        gap = len(expected) - done - len(expected[done:].lstrip(" "))
        assert gap or 2 in map(size_of, expected[done - 1 : done + 1]), f"a word is cut: {row!r}"
        word = re.match(r"[^ ]*", expected[done + gap :])[0]  # type: ignore[index]
        if word.isascii():
            taken = sum(map(size_of, row)) + row.count(CHARACTERS["VS16"])
            assert taken + gap + len(word) >= min(width - 1, 100), f"broken too early: {row!r}"
        row = rest.pop(0)
        margin = len(row) - len(row.lstrip(" "))
        assert hang in (None, margin), f"indented differently: {row!r}"
        assert margin <= width // 2
        hang, text, done = margin, row.lstrip(" "), done + gap
        assert text
        assert expected.startswith(text, done), f"expected {expected[done:]!r}, found {text!r}"
        done += len(text)


def _read_table(table: TableRows, rest: list[str], width: int) -> None:
    margin = len(table.indent)
    if rest[0].strip().startswith("|"):
        lines = []
        while rest and rest[0].strip().startswith("|"):
            lines.append(rest.pop(0)[margin:])
        _read_grid(table, lines)
        return
    names = table.rows[0]
    if len(table.rows) == 1:
        for name in names:
            _read_line(name, rest, width)
    for number, row in enumerate(table.rows[1:]):
        if number:
            assert rest.pop(0) == ""
        for name, value in zip(names, row, strict=True):
            if name or value:
                lines = [line.removeprefix(table.indent) for line in rest]
                _read_line(f"{name}: {value}".rstrip() if name else value, lines, width - margin)
                del rest[: len(rest) - len(lines)]


def _read_grid(table: TableRows, lines: Sequence[str]) -> None:
    """Read a table between bars: one line a row, or where cells are broken as many as it takes, and a rule."""
    rule = next(line for line in lines if _RULE.fullmatch(line))
    bars = [at for at, letter in enumerate(rule) if letter == "|"]
    dashes = [part.strip() for part in rule.strip("|").split("|")]
    shown = [(cell.startswith(":"), cell.endswith(":")) for cell in dashes]
    assert shown[: len(table.alignment)] == table.alignment
    groups: list[list[str]] = [[]]
    for line in lines:
        if line == rule:
            groups.append([])
        else:
            groups[-1].append(line)
    header, *bodies = groups
    one_line_each = len(bodies) == 1 and len(bodies[0]) == len(table.rows) - 1
    rows = [header, *([line] for line in bodies[0])] if one_line_each else groups
    rows = [row for row in rows if row]
    assert len(rows) == len(table.rows)
    for cells, group in zip(table.rows, rows, strict=True):
        for column, cell in enumerate(cells):
            start, end = bars[column], bars[column + 1]
            parts = [_between(line, start, end) for line in group]
            while len(parts) > 1 and not parts[-1]:
                parts.pop()
            _read_line(cell, parts, 0)
            assert not parts


def _between(line: str, start: int, end: int) -> str:
    """Return what stands between two columns of the screen, both of them bars."""
    found, column = {}, 0
    for at, letter in enumerate(line):
        found[column] = at
        column += size_of(letter)
    assert line[found[start]] == line[found[end]] == "|", line
    return line[found[start] + 1 : found[end]].strip(" ")
