"""A sequence of tokens, and which of them to compute next.

Planning is arithmetic on counts, with no tensors in it: decoding sequences go first, one row each, since people
wait for them; what room is left in a step goes to prompts, in order.
"""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field


@dataclass(eq=False)
class Sequence:
    """Tokens, of which the cache holds the first `computed`."""

    number: int
    tokens: list[int] = field(default_factory=list)
    computed: int = 0

    @property
    def n_pending(self) -> int:
        return len(self.tokens) - self.computed

    def common_prefix(self, tokens: Ordered[int]) -> int:
        """Return how many leading tokens are computed and the same as in `tokens`."""
        length = min(self.computed, len(tokens))
        for i in range(length):
            if self.tokens[i] != tokens[i]:
                return i
        return length


@dataclass(frozen=True)
class Share:
    """A sequence's part of a step: its next `n_rows` tokens."""

    sequence: Sequence
    n_rows: int

    @property
    def completes(self) -> bool:
        """Whether no token is left to compute afterwards, so that the last row's logits are wanted."""
        return self.n_rows == self.sequence.n_pending


def plan_step(sequences: Ordered[Sequence], max_rows: int) -> list[Share]:
    """Choose the rows of the next step. Units: `max_rows` counts rows."""
    pending = [sequence for sequence in sequences if sequence.n_pending]
    shares, room = [], max_rows
    for sequence in sorted(pending, key=lambda sequence: sequence.n_pending > 1):
        n_rows = min(sequence.n_pending, room)
        if n_rows:
            shares.append(Share(sequence, n_rows))
            room -= n_rows
    return shares
