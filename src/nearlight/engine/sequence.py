"""A sequence of tokens, and which of them to compute next.

Planning is arithmetic on counts: sequences whose answer is under way go first, since people wait for their next token;
what room is left in a step goes to prompts, in order, chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from hashlib import blake2b

from nearlight.kernels.ops import Float32


@dataclass(eq=False)
class Sequence:
    """Tokens, of which the cache holds the first `computed`.

    The last `n_logits` have logits: one to choose the next token, one more for each of the last `n_drafts`, which are
    guesses, all to score a text. `answering` is whether the prompt is computed. A token below 0 stands for one of
    `embeddings` (`embedding_token`): a row that some other model computed. A step ends behind the first `checkpoint`
    tokens, so that recurrences can come back to there; where that is 0, to where the prompt ends. `lengths` are what
    `length_at` was of each computed token.
    """

    number: int
    tokens: list[int] = field(default_factory=list)
    computed: int = 0
    n_logits: int = 1
    n_drafts: int = 0
    answering: bool = False
    checkpoint: int = 0
    embeddings: dict[int, Float32] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)

    @property
    def n_pending(self) -> int:
        return len(self.tokens) - self.computed

    def length_at(self, position: int) -> int:
        """Return how many tokens there are for one that is computed now: all, of guesses only those up to itself."""
        return max(len(self.tokens) - self.n_drafts, position + 1)

    def common_prefix(self, tokens: Ordered[int]) -> int:
        """Return how many leading tokens are computed and the same as in `tokens`."""
        length = min(self.computed, len(self.tokens), len(tokens))
        for i in range(length):
            if self.tokens[i] != tokens[i]:
                return i
        return length


@dataclass(frozen=True)
class Chunk:
    """A sequence's part of a step: its next `n_rows` tokens, the last `n_logit_rows` of which have logits.

    It `completes` the sequence where no token is left to compute.
    """

    sequence: Sequence
    n_rows: int
    n_logit_rows: int
    completes: bool

    @classmethod
    def of(cls, sequence: Sequence, n_rows: int) -> Chunk:
        left = sequence.n_pending - n_rows
        return cls(sequence, n_rows, min(max(sequence.n_logits - left, 0), n_rows), completes=left == 0)


def plan_step(
    sequences: Ordered[Sequence], max_rows: int, together: Callable[[Sequence], int] = lambda each: each.n_pending
) -> list[Chunk]:
    """Choose the rows of the next step, of each sequence at most as many as can be computed `together`.

    Units: `max_rows` counts rows.
    """
    pending = [sequence for sequence in sequences if sequence.n_pending]
    chunks: list[Chunk] = []
    room = max_rows
    for sequence in sorted(pending, key=lambda sequence: not sequence.answering):
        whole = together(sequence)
        n_rows = min(whole, room)
        if sequence.n_drafts and n_rows < whole and chunks:
            continue  # guesses are checked in one step, which can be undone as one
        if 0 < (ahead := sequence.checkpoint - sequence.computed) < n_rows:
            n_rows = ahead
        if n_rows:
            chunks.append(Chunk.of(sequence, n_rows))
            room -= n_rows
    return chunks


def embedding_token(embedding: Float32) -> int:
    """Return the number below 0 by which an embedding [M] is a token.

    The same values have the same number, so that conversations about one picture begin alike.
    """
    return -1 - int.from_bytes(blake2b(embedding.tobytes(), digest_size=8).digest())
