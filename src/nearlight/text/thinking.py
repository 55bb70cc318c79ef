"""A reasoning model's thinking, separated from its answer in a stream.

Most such models write `<think>…</think>` first and the answer after it; some chat templates already open the section at
the end of the prompt. Only a section at the beginning counts: an answer may well write about `<think>` later on. Where
the markers are tokens that no text spells, as Gemma 4's, a section counts wherever it is. Thinking without end is the
commonest complaint about these models, so the engine needs to know, at every token, whether the model still thinks, and
which ids would make it stop.

Source: the chat templates of the families named below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nearlight.text.harmony import Harmony
from nearlight.text.reasoning import Reasoning, special_ids_in
from nearlight.text.stops import held_back
from nearlight.text.streaming import Channel, Piece
from nearlight.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Markers:
    """What opens and closes a thinking section.

    `anywhere`: no text spells them, so a section counts wherever it is. `after` is what models write between section
    and answer; `response` what they may put around an answer behind a section.
    """

    open: str = "<think>"
    close: str = "</think>"
    after: str = "\n\n"
    anywhere: bool = False
    response: tuple[str, str] = ("", "")

    def opened_by(self, prompt: str) -> bool:
        return prompt.rstrip().endswith(self.open)

    def shown_ids(self, tokenizer: Tokenizer) -> set[int]:
        return special_ids_in(tokenizer, self.open, self.close, *self.response)

    def closing_ids(self, tokenizer: Tokenizer) -> list[int]:
        return tokenizer.encode_continuation(f"\n{self.close}{self.after}{self.response[0]}")

    def splitter(self, *, opened: bool = False) -> ThinkingSplitter:
        return ThinkingSplitter(self, opened=opened)


KNOWN_MARKERS = (
    Markers("<|channel>thought", "<channel|>", after="", anywhere=True),  # Gemma 4; "thought" names the channel
    Markers("<|START_THINKING|>", "<|END_THINKING|>", after="", anywhere=True),  # Cohere
    Markers("<|inner_prefix|>", "<|inner_suffix|>", after="", anywhere=True),  # Apertus
    Markers("<think>", "</think>", after="", response=("<response>", "</response>")),  # Granite 3.3
    Markers("<think>", "</think>"),
    Markers("<thinking>", "</thinking>"),
    Markers("<thought>", "</thought>"),  # EXAONE Deep
    Markers("<reasoning>", "</reasoning>"),  # Reka Flash
    Markers("[THINK]", "[/THINK]", after=""),
    Markers("<|begin_of_thought|>", "<|end_of_thought|>"),
    Markers("<seed:think>", "</seed:think>", after=""),
    Markers("<mm:think>", "</mm:think>"),  # MiniMax M3
    Markers("<think:opensource>", "</think:opensource>", after=""),  # Hunyuan 3
    Markers("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", response=("", "[END FINAL RESPONSE]")),  # Apriel
)


def find_markers(template: str, tokenizer: Tokenizer | None = None) -> Reasoning | None:
    """Return how a model marks its thinking: with what its template mentions, or else its vocabulary has as tokens."""
    if Harmony.is_in(template):
        return Harmony()
    for markers in KNOWN_MARKERS:
        if (markers.open in template or markers.close in template) and all(
            map(template.__contains__, markers.response)
        ):
            return markers
    if tokenizer is not None:
        written = {markers: {markers.open, markers.close, *filter(None, markers.response)} for markers in KNOWN_MARKERS}
        tokens = tokenizer.ids_of(set().union(*written.values()))
        return next((markers for markers in KNOWN_MARKERS if written[markers] <= tokens.keys()), None)
    return None


class ThinkingSplitter:
    """Sends a leading thinking section, or all that there are, to channel "thinking": a stage.

    `opened` says that the prompt opened the section. The markers themselves, and line ends next to them, are dropped.
    """

    def __init__(self, markers: Markers, *, opened: bool = False) -> None:
        self._markers = markers
        self._state: Channel | Literal["start"] = "thinking" if opened else "start"
        self._held = ""
        self._trim = opened
        self._wrapped: Literal["perhaps", "yes", "no"] = "no"

    @property
    def inside(self) -> bool:
        return self._state == "thinking"

    def push(self, piece: Piece) -> list[Piece]:
        self._held += piece.text
        if self._state == "start":
            self._begin()
        pieces: list[Piece] = []
        n_held = -1
        while self._state != "start" and len(self._held) != n_held:
            n_held = len(self._held)
            pieces += self._think() if self.inside else self._answer()
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
            opening, closing = self._markers.response
            self._wrapped = "perhaps" if opening else "yes" if closing else "no"
            return pieces
        # Line ends before the closing marker go with it, so they wait too.
        ready = len(self._held) - held_back(self._held, [self._markers.close])
        ready = len(self._held[:ready].rstrip("\n"))
        return self._emit(self._take(ready), "thinking")

    def _answer(self) -> list[Piece]:
        if self._wrapped == "perhaps" and not self._unwrap():
            return []
        marks = [self._markers.open, self._markers.close] if self._markers.anywhere else []
        marks += [self._markers.response[1]] if self._wrapped == "yes" else []
        places = [(place, mark) for mark in marks if (place := self._held.find(mark)) >= 0]
        if not places:
            return self._emit(self._take(len(self._held) - held_back(self._held, marks)), "answer")
        place, mark = min(places)
        pieces = self._emit(self._take(place), "answer")
        self._take(len(mark))
        if mark == self._markers.open:
            self._state, self._trim = "thinking", True
        return pieces

    def _unwrap(self) -> bool:
        """Take off what a model may put around its answer; say whether enough is there to know."""
        text, opening = self._held.lstrip(), self._markers.response[0]
        if opening.startswith(text) and text != opening:
            return False
        if text.startswith(opening):
            self._held, self._wrapped = text.removeprefix(opening), "yes"
        else:
            self._wrapped = "no"
        return True

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
