"""A vocabulary in order, the most probable token first, of which only the top is ever looked at.

A vocabulary has 150,000 tokens, and what sampling keeps of it is ten or a hundred. So one pass over the scores notes
the best of every block of 256; the rest is read off those 600 numbers. If k blocks have a best of at least x, then
at least k tokens reach x, and all that do are in the blocks whose best does: few more than k, as the best tokens rarely
share a block.

    scores    1 4 0 2 | 3 1 0 1 | 9 2 7 1 | 0 2 1 1 | …
    maxima       4    |    3    |    9    |    2    | …      the best 3: only blocks with a maximum of 3 or more

Whatever is asked, the answer is the same as from the fully sorted vocabulary, ties by id.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nearlight.kernels.cpu.scores import SCORE_BLOCK, block_maxima, scores_reaching, sum_of_exponentials


class Top(NamedTuple):
    """The best tokens of a ranking, best first and ties by id, and their scores. Shapes: [n], [n]."""

    ids: NDArray[np.int32]
    scores: NDArray[np.float32]

    def first(self, n: int) -> Top:
        return Top(self.ids[:n], self.scores[:n])


class Ranking:
    """Tokens by score. The scores must stay as they are while it is in use.

    Shapes: scores [V], V at least 1. `highest` is NaN if any of them is; then nothing but `best` may be asked.
    """

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self.scores = scores
        self._maxima = block_maxima(scores)
        self._best_block = int(self._maxima.argmax())  # to argmax NaN is the largest number
        self.highest = float(self._maxima[self._best_block])

    def __len__(self) -> int:
        return len(self.scores)

    def best(self) -> int:
        """Return the token with the highest score, the first of them."""
        start = self._best_block * SCORE_BLOCK
        return start + int(self.scores[start : start + SCORE_BLOCK].argmax())

    def top(self, n: int) -> Top:
        """Rank at least n tokens (or all there are), and all that tie with the last of them."""
        return self.reaching(self._reached_by(n))

    def reaching(self, floor: float) -> Top:
        """Rank the tokens with a score of at least `floor`."""
        ids = scores_reaching(self.scores, self._maxima, floor)
        scores = self.scores[ids]
        order = (-scores).argsort(kind="stable")  # stable: among equals the lower id stays first
        return Top(ids[order], scores[order])

    def total(self, temperature: float) -> float:
        """Sum up exp((score - highest) / temperature) over all tokens, with a relative error of some 1e-7."""
        return sum_of_exponentials(self.scores, self.highest, temperature)

    def _reached_by(self, n: int) -> float:
        """Return a score that at least n tokens reach, and hopefully few more."""
        if n <= len(self._maxima):
            return float(self._sorted_maxima[-n])
        return float(np.partition(self.scores, -n)[-n]) if n < len(self.scores) else -np.inf

    @cached_property
    def _sorted_maxima(self) -> NDArray[np.float32]:
        return np.sort(self._maxima)
