"""A terminal in sixty lines: enough of one to see what a person would see, scrolled-off rows included."""

from __future__ import annotations

import re

from wcwidth import wcwidth

_TOKEN = re.compile(r"\x1b\[(?P<arguments>[?0-9;]*)(?P<final>[A-Za-z])|(?P<character>[\s\S])")
_TAB_CELLS = 8


def size_of(character: str) -> int:
    """Return how many cells a character takes in a terminal that does not join emoji."""
    size = 1 if "\U0001f1e6" <= character <= "\U0001f1ff" else wcwidth(character)
    assert size >= 0, f"control character {character!r}"
    return size


class Screen:
    """Takes what a program writes. Rows are numbered from the first ever written, scrolled away or not."""

    encoding = "utf-8"

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._cells: list[list[str]] = [[]]
        self._goes_on: set[int] = set()
        self._row = self._column = 0
        self._joins_next = ""

    @property
    def rows(self) -> list[str]:
        """Everything, row by row."""
        return ["".join(cells) for cells in self._cells]

    @property
    def lines(self) -> list[str]:
        """Everything as a copy has it: rows that the terminal broke at its edge are put together again."""
        lines: list[str] = []
        for number, row in enumerate(self.rows):
            if number in self._goes_on:
                lines[-1] += row
            else:
                lines.append(row)
        return lines

    def write(self, text: str) -> int:
        for token in _TOKEN.finditer(text):
            if token["final"]:
                self._control(token["final"], token["arguments"])
            else:
                self._character(token["character"])
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        return False

    def _control(self, final: str, arguments: str) -> None:
        if final == "A":
            top = max(len(self._cells) - self.height, 0)  # what has scrolled away is out of reach
            self._row = max(self._row - int(arguments or 1), top)
        elif final == "B":
            self._row = min(self._row + int(arguments or 1), len(self._cells) - 1)
        elif final in "JK":
            in_corner = self._row == max(len(self._cells) - self.height, 0) and self._column == 0
            assert not (final == "J" and in_corner), "tmux keeps what is erased from the top left corner"
            del self._cells[self._row][self._column :]
            if final == "J":
                del self._cells[self._row + 1 :]
                begins = self._row + bool(self._column)
                self._goes_on = {row for row in self._goes_on if row < begins}
        elif final not in "mhl":
            raise AssertionError(f"unknown control sequence {arguments}{final}")

    def _character(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._next_row()
        elif character == "\t":
            self._column = min((self._column // _TAB_CELLS + 1) * _TAB_CELLS, self.width - 1)
        else:
            self._put(character, size_of(character))

    def _put(self, character: str, size: int) -> None:
        if size and self._column + size > self.width:
            self._next_row()
            self._goes_on.add(self._row)
        row = self._cells[self._row]
        row += [" "] * (self._column - len(row))
        if size == 0 and self._column == 0:
            self._joins_next += character
            return
        if size == 0:
            row[max(at for at in range(self._column) if row[at])] += character
            return
        row[self._column : self._column + size] = [self._joins_next + character, *[""] * (size - 1)]
        self._joins_next = ""
        self._column += size

    def _next_row(self) -> None:
        self._row, self._column = self._row + 1, 0
        if self._row == len(self._cells):
            self._cells.append([])
