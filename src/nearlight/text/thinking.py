"""A reasoning model's thinking, separated from its answer in a stream.

Such models write `<think>…</think>` first and the answer after it; some chat templates already open the section at the
end of the prompt. Only a section at the beginning counts: an answer may well write about `<think>` later on. Thinking
without end is the commonest complaint about these models, so the engine needs to know, at every token, whether the
model still thinks, and which ids would make it stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nearlight.text.stops import held_back
from nearlight.text.streaming import Channel, Piece
from nearlight.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Markers:
    """What opens and closes a thinking section."""

    open: str = "<think>"
    close: str = "</think>"

    def opened_by(self, prompt: str) -> bool:
        """Whether a prompt ends inside a thinking section it opens itself."""
        return prompt.rstrip().endswith(self.open)

    def shown_ids(self, tokenizer: Tokenizer) -> set[int]:
        """Return the markers' own ids, which must reach this stage even where the package calls them special."""
        return {id for id in (tokenizer.id_of(self.open), tokenizer.id_of(self.close)) if id is not None}

    def closing_ids(self, tokenizer: Tokenizer) -> list[int]:
        """Return the ids to force when the thinking budget is spent: the closing marker and a blank line."""
        return tokenizer.encode_continuation(f"\n{self.close}\n\n")


KNOWN_MARKERS = (
    Markers("<think>", "</think>"),
    Markers("<thinking>", "</thinking>"),
    Markers("[THINK]", "[/THINK]"),
    Markers("<|begin_of_thought|>", "<|end_of_thought|>"),
    Markers("<seed:think>", "</seed:think>"),
)


def find_markers(template: str, tokenizer: Tokenizer | None = None) -> Markers | None:
    """Return the markers a model uses: those its template mentions, or else its vocabulary has as tokens."""
    for markers in KNOWN_MARKERS:
        if markers.open in template or markers.close in template:
            return markers
    if tokenizer is not None:
        for markers in KNOWN_MARKERS:
            if tokenizer.id_of(markers.open) is not None and tokenizer.id_of(markers.close) is not None:
                return markers
    return None


class ThinkingSplitter:
    """Sends a leading thinking section to channel "thinking": a stage.

    `opened` says that the prompt opened the section. The markers themselves, and line ends next to them, are dropped.
    """

    def __init__(self, markers: Markers, *, opened: bool = False) -> None:
        self._markers = markers
        self._state: Channel | Literal["start"] = "thinking" if opened else "start"
        self._held = ""
        self._trim = opened

    @property
    def inside(self) -> bool:
        """Whether the model is thinking at this point of the stream."""
        return self._state == "thinking"

    def push(self, piece: Piece) -> list[Piece]:
        self._held += piece.text
        if self._state == "start":
            self._begin()
        pieces = self._think() if self.inside else []
        if self._state == "answer":
            pieces += self._emit(self._take(len(self._held)), "answer")
        return pieces

    def _begin(self) -> None:
        """Decide whether the stream begins with the opening marker, once enough of it is there."""
        text = self._held.lstrip()
        if text.startswith(self._markers.open):
            self._held = text.removeprefix(self._markers.open)
            self._state, self._trim = "thinking", True
        elif not self._markers.open.startswith(text):
            self._state = "answer"

    def _think(self) -> list[Piece]:
        before, closed, after = self._held.partition(self._markers.close)
        if closed:
            pieces = self._emit(before.rstrip("\n"), "thinking")
            self._held, self._state, self._trim = after, "answer", True
            return pieces
        # Line ends before the closing marker go with it, so they wait too.
        ready = len(self._held) - held_back(self._held, [self._markers.close])
        ready = len(self._held[:ready].rstrip("\n"))
        return self._emit(self._take(ready), "thinking")

    def _take(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken

    def _emit(self, text: str, channel: Channel) -> list[Piece]:
        if self._trim:
            text = text.lstrip("\n")
            self._trim = not text
        return [Piece(text, channel)] if text else []

    def finish(self) -> list[Piece]:
        return self._emit(self._take(len(self._held)), "thinking" if self.inside else "answer")
