"""Stop strings over a stream: the text ends before the first of them to be complete, however tokens cut it."""

from __future__ import annotations

from collections.abc import Iterable

from nearlight.text.streaming import Piece


def held_back(text: str, markers: Iterable[str]) -> int:
    """Return how many characters at the end of `text` could still begin one of `markers`."""
    longest = 0
    for marker in markers:
        for length in range(min(len(marker) - 1, len(text)), longest, -1):
            if text.endswith(marker[:length]):
                longest = length
                break
    return longest


class StopStrings:
    """Ends the answer before the first stop string: a stage.

    Only the longest suffix that could still become a stop string is held back; thinking passes through unread. Once
    `stopped` names the stop string found, nothing more comes out.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped: str | None = None

    def push(self, piece: Piece) -> list[Piece]:
        if self.stopped is not None:
            return []
        if piece.channel != "answer":
            return [*self.finish(), piece]
        text = self._held + piece.text
        found = [(text.find(stop) + len(stop), text.find(stop), stop) for stop in self._stops if stop in text]
        if found:
            # The one that is complete first, so that it does not matter how the text was cut.
            _, position, self.stopped = min(found)
            self._held = ""
            return _pieces(text[:position])
        cut = len(text) - held_back(text, self._stops)
        self._held = text[cut:]
        return _pieces(text[:cut])

    def finish(self) -> list[Piece]:
        held, self._held = self._held, ""
        return _pieces(held)


def _pieces(text: str) -> list[Piece]:
    return [Piece(text)] if text else []
