"""How often tokens occurred, with those that did at hand: the vocabulary is large, and what occurs of it little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TallyState:
    """What a tally has counted at one moment; it is not changed by what is counted later. Shapes: [n], [n]."""

    ids: NDArray[np.intp]
    counts: NDArray[np.int32]


class Tally:
    """Counts tokens. `ids` are those that occurred, each once, and `counts` how often. Shapes: [n], [n]."""

    def __init__(self, vocab_size: int) -> None:
        self.ids = np.empty(0, np.intp)
        self.counts = np.empty(0, np.int32)
        self._places = np.full(vocab_size, -1, np.int32)  # of each token in `ids`, -1 for none

    def add(self, token: int) -> None:
        place = self._places[token]
        if place >= 0:
            self.counts[place] += 1
        else:
            self._places[token] = len(self.ids)
            # A copy of what occurred so far, some thousand numbers: less than a search through the vocabulary.
            self.ids = np.append(self.ids, token)
            self.counts = np.append(self.counts, np.int32(1))

    def add_all(self, tokens: NDArray[np.intp]) -> None:
        before = np.repeat(self.ids, self.counts)
        ids, counts = np.unique(np.concatenate([before, tokens]), return_counts=True)
        self.restore(TallyState(ids, counts.astype(np.int32)))

    def state(self) -> TallyState:
        return TallyState(self.ids, self.counts.copy())

    def restore(self, state: TallyState) -> None:
        self._places[self.ids] = -1
        self.ids, self.counts = state.ids, state.counts.copy()
        self._places[self.ids] = np.arange(len(self.ids), dtype=np.int32)
