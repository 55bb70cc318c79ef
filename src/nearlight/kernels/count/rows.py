"""What attention does for a step's rows: how many tokens they see, and how many lie in the cache.

A row sees its sequence up to itself: the causal half of a prompt's square. With a window it sees the last `window` of
those, and older tokens are kept but not read.
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
        self._cached: dict[int | None, tuple[int, int]] = {}

    def pairs(self, window: int | None = None) -> int:
        """Return how many (row, visible token) pairs there are."""
        return self._counts(window)[0]

    def tokens(self, window: int | None = None) -> int:
        """Return how many tokens' keys and values are read: each sequence's once, however many rows it has."""
        return self._counts(window)[1]

    def _counts(self, window: int | None) -> tuple[int, int]:
        if window not in self._cached:
            seen = self._seen if window is None else np.minimum(self._seen, window)
            self._cached[window] = int(seen.sum()), self._tokens(window)
        return self._cached[window]

    def _tokens(self, window: int | None) -> int:
        if self.n_rows == 0:  # no logits are wanted, and only rows of logits go on
            return 0
        starts = np.concatenate([[0], self._ends[:-1] + 1]).astype(np.int64)
        last, first = self._seen[self._ends], self._seen[starts]
        oldest = np.zeros_like(first) if window is None else np.maximum(first - window, 0)
        return int((last - oldest).sum())

    @staticmethod
    def _group_ends(sequences: np.ndarray) -> np.ndarray:
        """Return the last row of every sequence; the rows of one are consecutive."""
        changes = np.flatnonzero(sequences[1:] != sequences[:-1])
        return np.append(changes, len(sequences) - 1)
