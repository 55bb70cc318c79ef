"""A sequence of tokens, and which of them to compute next.

Planning is arithmetic on counts: decoding sequences go first, a row each (or as many as their
drafts are long), since people wait for them; what room is left in a step goes to prompts, in order, chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from hashlib import blake2b

from nearlight.kernels.ops import Float32


@dataclass(eq=False)
class Sequence:
    """Tokens, of which the cache holds the first `computed`.

    A token below 0 stands for one of `embeddings` (`embedding_token`): a row that some other model computed.
    `n_logits` of them, the last ones, are to have logits: one to choose the next token, more to check drafted tokens or
    to score a text.
    """

    number: int
    tokens: list[int] = field(default_factory=list)
    computed: int = 0
    n_logits: int = 1
    embeddings: dict[int, Float32] = field(default_factory=dict)

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
class Chunk:
    """A sequence's part of a step: its next `n_rows` tokens."""

    sequence: Sequence
    n_rows: int

    @property
    def completes(self) -> bool:
        """Whether no token is left to compute afterwards."""
        return self.n_rows == self.sequence.n_pending

    @property
    def n_logit_rows(self) -> int:
        """How many of the rows, the last ones, have logits."""
        after = self.sequence.n_pending - self.n_rows
        return min(max(self.sequence.n_logits - after, 0), self.n_rows)


def plan_step(sequences: Ordered[Sequence], max_rows: int) -> list[Chunk]:
    """Choose the rows of the next step. Units: `max_rows` counts rows."""
    pending = [sequence for sequence in sequences if sequence.n_pending]
    chunks, room = [], max_rows
    for sequence in sorted(pending, key=lambda sequence: sequence.n_pending > sequence.n_logits):
        n_rows = min(sequence.n_pending, room)
        if n_rows:
            chunks.append(Chunk(sequence, n_rows))
            room -= n_rows
    return chunks


def embedding_token(embedding: Float32) -> int:
    """Return the number below 0 by which an embedding [M] is a token.

    The same values have the same number, so that conversations about one picture begin alike.
    """
    return -1 - int.from_bytes(blake2b(embedding.tobytes(), digest_size=8).digest())
