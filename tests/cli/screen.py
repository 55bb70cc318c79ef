"""A terminal in forty lines: enough of one to see what a person would see, scrolled-off rows included."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\x1b\[(?P<arguments>[?0-9;]*)(?P<final>[A-Za-z])|(?P<character>[\s\S])")


class Screen:
    """Takes what a program writes. `rows` is everything, from the first row ever written."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.rows: list[str] = [""]
        self._row = self._column = 0

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
            top = max(len(self.rows) - self.height, 0)  # what has scrolled away is out of reach
            self._row = max(self._row - int(arguments or 1), top)
        elif final == "J":
            self.rows[self._row] = self.rows[self._row][: self._column]
            del self.rows[self._row + 1 :]
        elif final not in "mhl":
            raise AssertionError(f"unknown control sequence {arguments}{final}")

    def _character(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n" or self._column == self.width:
            self._row, self._column = self._row + 1, 0
            if self._row == len(self.rows):
                self.rows.append("")
        if character not in "\r\n":
            row = self.rows[self._row].ljust(self._column)
            self.rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
            self._column += 1
