"""A vocabulary in order, the most probable token first, of which only the top is ever looked at.

A vocabulary has 150,000 tokens, and what sampling keeps of it is ten or a hundred. Sorting them all takes longer than
computing some models' step; `native/src/ranking.h` shows how few of them need to be looked at. Whatever is asked, the
answer is the same as from the fully sorted vocabulary, and has the same bits on every processor.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nearlight import _native

# With these factors no difference of scores becomes NaN; sharper and flatter distributions cannot be told from theirs.
_LEAST_FACTOR, _LARGEST_FACTOR = 1e-30, 1e30


class Top(NamedTuple):
    """The best tokens of a ranking, best first and ties by id, and their scores. Shapes: [n], [n]."""

    ids: NDArray[np.int32]
    scores: NDArray[np.float32]

    def first(self, n: int) -> Top:
        return Top(self.ids[:n], self.scores[:n])


class Ranking:
    """Tokens by score. The scores must stay as they are while it is in use.

    Shapes: scores [V], V at least 1. `highest` is NaN if any of them is; then nothing else may be asked.
    """

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self._native = _native.Ranking(scores)
        self.highest = self._native.highest

    def __len__(self) -> int:
        return len(self._native)

    def best(self) -> int:
        """Return the token with the highest score, the first of them."""
        return self._native.best()

    def top(self, n: int) -> Top:
        """Rank at least n tokens (or all there are), and all that tie with the last of them."""
        return Top(*self._native.top(min(n, len(self))))

    def reaching(self, floor: float) -> Top:
        """Rank the tokens with a score of at least `floor`, which is rounded to the nearest float32."""
        return Top(*self._native.reaching(floor))

    def total(self, temperature: float) -> float:
        """Sum up exp((score - highest) / temperature) over all tokens, with a relative error of some 1e-7."""
        factor = math.log2(math.e) / max(temperature, _LEAST_FACTOR)
        return self._native.sum_of_powers(min(max(factor, _LEAST_FACTOR), _LARGEST_FACTOR))
