"""What attention does for a step's rows: how many tokens they see, and how many lie in the cache.

A row sees its sequence up to itself: the causal half of a prompt's square. With a window it sees the last `window` of
those, or of stretches side by side its own, and older tokens are kept but not read.
"""

from __future__ import annotations

import numpy as np

from nearlight.kernels.ops import Rows


class Visible:
    """Counts over the rows of one step. Made once a step, asked once a layer."""

    def __init__(self, rows: Rows) -> None:
        positions, sequences = np.asarray(rows.positions, np.int64), np.asarray(rows.sequences)
        self.n_rows = len(positions)
        self._seen = positions + 1
        self._ends = self._group_ends(sequences)
        self._cached: dict[tuple[int | None, bool], tuple[int, int]] = {}

    def pairs(self, window: int | None = None, chunked: bool = False) -> int:
        """Return how many (row, visible token) pairs there are."""
        return self._counts(window, chunked)[0]

    def tokens(self, window: int | None = None, chunked: bool = False) -> int:
        """Return how many tokens' keys and values are read: each sequence's once, however many rows it has."""
        return self._counts(window, chunked)[1]

    def _counts(self, window: int | None, chunked: bool) -> tuple[int, int]:
        if self.n_rows == 0:  # no logits are wanted, and only rows of logits go on
            return 0, 0
        if (window, chunked) not in self._cached:
            oldest = self._oldest(window, chunked)
            starts = np.concatenate([[0], self._ends[:-1] + 1]).astype(np.int64)
            tokens = self._seen[self._ends] - oldest[starts]
            self._cached[window, chunked] = int((self._seen - oldest).sum()), int(tokens.sum())
        return self._cached[window, chunked]

    def _oldest(self, window: int | None, chunked: bool) -> np.ndarray:
        """Return the position of the first token that each row sees."""
        if window is None:
            return np.zeros_like(self._seen)
        return (self._seen - 1) // window * window if chunked else np.maximum(self._seen - window, 0)

    @staticmethod
    def _group_ends(sequences: np.ndarray) -> np.ndarray:
        """Return the last row of every sequence; the rows of one are consecutive."""
        changes = np.flatnonzero(sequences[1:] != sequences[:-1])
        return np.append(changes, len(sequences) - 1)
