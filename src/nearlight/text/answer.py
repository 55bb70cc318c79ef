"""The stages of an answer in a row: ids in, shown text out, and what the engine must know on the way."""

from __future__ import annotations

from collections.abc import Iterable

from nearlight.text.reasoning import Reasoning
from nearlight.text.stops import StopStrings
from nearlight.text.streaming import Detokenizer, Piece, Stage
from nearlight.text.tokenizer import Tokenizer


class AnswerStream:
    """Detokenizes, separates thinking, and watches for stop strings.

    `markers` is None for models that do not think; `opened` says that the prompt opened the thinking section;
    `continues` that the text goes on from a prompt (a base model completing). `thinking_tokens` counts the ids pushed
    inside the section, its markers left out.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        stops: Iterable[str] = (),
        markers: Reasoning | None = None,
        opened: bool = False,
        continues: bool = False,
    ) -> None:
        self._tokenizer, self._markers = tokenizer, markers
        shown = markers.shown_ids(tokenizer) if markers else set()
        self._detokenizer = Detokenizer(tokenizer, continues=continues, shown=shown)
        self._splitter = markers.splitter(opened=opened) if markers else None
        self._stops = StopStrings(stops)
        self._stages: list[Stage] = [*([self._splitter] if self._splitter else []), self._stops]
        self.thinking_tokens = 0

    @property
    def thinking(self) -> bool:
        """Whether the model is inside its thinking section now."""
        return self._splitter is not None and self._splitter.inside

    @property
    def stopped(self) -> str | None:
        """The stop string that ended the answer, if one did."""
        return self._stops.stopped

    def closing_ids(self) -> list[int]:
        """Return the ids that, forced, close the thinking section; empty where there is none."""
        return self._markers.closing_ids(self._tokenizer) if self._markers else []

    def push(self, id: int) -> list[Piece]:
        """Take the next id; return the pieces that can be shown now."""
        thought_before = self.thinking
        pieces = _through(self._stages, self._detokenizer.push(id))
        self.thinking_tokens += thought_before and self.thinking
        return pieces

    def finish(self) -> list[Piece]:
        """Return what was held back; call it once, after the last id."""
        pieces = _through(self._stages, self._detokenizer.finish())
        for i, stage in enumerate(self._stages):
            pieces += _through(self._stages[i + 1 :], stage.finish())
        return pieces


def _through(stages: Iterable[Stage], pieces: list[Piece]) -> list[Piece]:
    for stage in stages:
        pieces = [out for piece in pieces for out in stage.push(piece)]
    return pieces
