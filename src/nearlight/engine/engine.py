"""Runs a model in steps: the rows of a step come from any number of sequences, as the plan says.

The engine owns the cache and the program; it holds no tensors. Whatever stops a step (Ctrl-C, an error) leaves the
sequences as they were before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from types import MappingProxyType

import numpy as np

from nearlight.dtypes import Format
from nearlight.engine.sequence import Chunk, Sequence, plan_step
from nearlight.errors import RequestError
from nearlight.kernels.ops import Float32, Ops, Program, Rows, Watch
from nearlight.models.model import Model
from nearlight.state.cache import Cache
from nearlight.state.kv_format import usual_kv_format

STEP_ROWS = 512
"""Rows of a step at most: enough that prefill is bound by arithmetic, few enough to show progress and to stop."""


class Engine:
    """A model, its cache, and the sequences it is computing.

    `kv_format` None follows the weights, which must be bound.
    Units: `context` counts tokens a sequence may have.
    """

    def __init__(self, model: Model, ops: Ops, *, kv_format: Format | None = None, context: int | None = None) -> None:
        self.model = model
        self.ops = ops
        self.context = min(context or model.max_positions, model.max_positions)
        matrices = (parameter.format for parameter in model.parameters() if parameter.is_matrix)
        self.cache = cache = Cache(ops, model.states(), kv_format or usual_kv_format(matrices))
        self._program = ops.program(lambda rows: model(rows, cache))  # no cycle: a dropped engine is freed at once

    @property
    def program(self) -> Program:
        """The forward as the kernel set runs it, with this engine's cache."""
        return self._program

    def open(self) -> Sequence:
        return Sequence(self.cache.open())

    def close(self, sequence: Sequence) -> None:
        self.cache.close(sequence.number)

    def fork(self, sequence: Sequence) -> Sequence:
        """Copy a sequence as far as it is computed: another continuation of the same prompt."""
        computed = self.cache.settle(sequence.number, sequence.computed)
        fork = Sequence(self.cache.fork(sequence.number), sequence.tokens[:computed], computed)
        fork.answering, fork.embeddings = sequence.answering, dict(sequence.embeddings)
        fork.lengths = sequence.lengths[:computed]
        return fork

    def extend(
        self,
        sequence: Sequence,
        tokens: Ordered[int],
        n_logits: int = 1,
        embeddings: Mapping[int, Float32] = MappingProxyType({}),
    ) -> None:
        """Append tokens, to be computed by the steps that follow; the last `n_logits` of them are to have logits.

        Several are a prompt's; one may be a chosen token.
        A token below 0 is one of `embeddings` [M], under the number that `embedding_token` gives it.
        Raises: RequestError for ids outside the vocabulary, or more tokens than the context holds.
        """
        self._check(len(sequence.tokens), tokens, embeddings)
        sequence.tokens.extend(tokens)
        sequence.n_logits, sequence.n_drafts = n_logits, 0
        sequence.answering &= len(tokens) < 2
        sequence.embeddings.update(embeddings)

    def draft(self, sequence: Sequence, tokens: Ordered[int]) -> None:
        """Append guesses of what comes next; the next step gives the logits of the token before them and of each.

        To take back those that were wrong, `rewind`; then `extend` by the token that is right. Where the sequence's
        length gives it another rotation on the way (longrope), it takes a step before and one from there.
        Raises: RequestError as `extend` does.
        """
        answering = sequence.answering
        self.extend(sequence, tokens, n_logits=len(tokens) + 1)
        sequence.answering, sequence.n_drafts = answering, len(tokens)

    def replace(
        self,
        sequence: Sequence,
        tokens: Ordered[int],
        embeddings: Mapping[int, Float32] = MappingProxyType({}),
        checkpoint: int = 0,
    ) -> None:
        """Make `tokens`, at least one, the sequence's, keeping what is already computed of them.

        The last token is computed again in any case, for its logits, and all are that would be rotated otherwise had
        these tokens come at once. The next tokens to be put here will begin like the first `checkpoint` of these.
        Raises: RequestError as `extend` does, with nothing lost.
        """
        if not tokens:
            raise RequestError("tokens of a sequence", expected="at least one", found=0)
        self._check(0, tokens, embeddings)
        keep = min(sequence.common_prefix(tokens), len(tokens) - 1)
        made_at = sequence.lengths[:keep]  # those between rotate like the first: `rewind` keeps no others
        if made_at and not all(self.model.rotates_alike(each, len(tokens)) for each in (made_at[0], made_at[-1])):
            keep = 0
        self._cut(sequence, keep)
        self.extend(sequence, tokens[keep:], embeddings=embeddings)
        sequence.answering, sequence.checkpoint = False, checkpoint

    def rewind(self, sequence: Sequence, length: int) -> None:
        """Forget all but the first `length` tokens: a conversation's other turn, drafted tokens that were wrong.

        What is forgotten of keys and values is only no longer counted. A recurrence goes back to where its last step
        began, or to a copy; the tokens in between are computed again by the next step (`Cache.truncate`). So with
        rejections one after the other its steps become longer, until a step is accepted whole or without drafts.
        All are computed again that were rotated as parts of a longer text.
        """
        self._cut(sequence, length)
        sequence.n_logits, sequence.n_drafts = 1, 0
        made_at = sequence.lengths[-1] if sequence.lengths else length
        if made_at > length and not self.model.rotates_alike(made_at, length):
            self._settle(sequence, 0)

    def step(
        self, sequences: Ordered[Sequence], max_rows: int = STEP_ROWS, watch: Watch | None = None
    ) -> dict[Sequence, Float32]:
        """Compute one step; return the logits that it gave, of every sequence that has some.

        Shapes: [n, V] a sequence, for those of its last `n_logits` tokens that the step computed.
        A step that takes long calls `watch` some times a second, and ends with what it raises, as with Ctrl-C.
        """
        for sequence in sequences:  # whoever interrupted the last step may have left one of the two behind
            self._settle(sequence, sequence.computed)
            if self.model.rewrites_keys:
                self._follow_length(sequence)
        chunks = plan_step(sequences, max_rows, self._together)
        if not chunks:
            return {}
        logits = np.split(self._run(chunks, watch), np.cumsum([chunk.n_logit_rows for chunk in chunks])[:-1])
        return {chunk.sequence: rows for chunk, rows in zip(chunks, logits, strict=True) if len(rows)}

    def logits(self, sequence: Sequence) -> Float32:
        """Compute every pending token of a sequence; return their logits [n, V]."""
        sequence.n_logits = sequence.n_pending
        parts: list[Float32] = []
        while sequence.n_pending:
            parts += self.step([sequence]).values()
        return np.concatenate(parts)

    def _settle(self, sequence: Sequence, length: int) -> None:
        """Count no more than `length` tokens as computed; some kinds of state leave fewer."""
        sequence.computed = self.cache.settle(sequence.number, min(sequence.computed, length))
        del sequence.lengths[sequence.computed :]

    def _cut(self, sequence: Sequence, length: int) -> None:
        self._settle(sequence, length)
        del sequence.tokens[length:]
        if sequence.embeddings:
            sequence.embeddings = {token: sequence.embeddings[token] for token in sequence.tokens if token < 0}

    def _follow_length(self, sequence: Sequence) -> None:
        """Forget what was rotated as parts of a sequence of other length; its next guess counts as a token."""
        if not (sequence.lengths and sequence.n_pending):
            return
        if not self.model.rotates_alike(sequence.lengths[-1], sequence.length_at(sequence.computed)):
            sequence.n_drafts = min(sequence.n_drafts, sequence.n_pending - 1)
            sequence.n_logits = min(sequence.n_logits, sequence.n_pending)
            sequence.answering = False
            self._settle(sequence, 0)

    def _together(self, sequence: Sequence) -> int:
        """Return how many pending tokens can share a step: guesses may lie beyond what changes the keys before them."""
        n, first = sequence.n_pending, sequence.length_at(sequence.computed)
        if self.model.rewrites_keys and sequence.n_drafts:
            while not self.model.rotates_alike(first, sequence.length_at(sequence.computed + n - 1)):
                n -= 1
        return n

    def _check(self, n_before: int, tokens: Ordered[int], embeddings: Mapping[int, Float32]) -> None:
        for token in tokens:
            if not 0 <= token < self.model.vocab_size and not (token < 0 and token in embeddings):
                raise RequestError("token id", expected=f"0 … {self.model.vocab_size - 1}", found=token)
        total = n_before + len(tokens)
        if total > self.context:
            raise RequestError(
                "prompt and answer are longer than the context",
                expected=f"at most {self.context} tokens",
                found=total,
                advice="shorten the prompt, or load the model with a larger context if it has one",
            )

    def _run(self, chunks: Ordered[Chunk], watch: Watch | None) -> Float32:
        rows = _rows(chunks)
        try:
            for chunk in chunks:
                self.cache.extend(chunk.sequence.number, chunk.n_rows)
            logits = self._program(rows, watch)
        except BaseException:
            for chunk in chunks:
                self.cache.settle(chunk.sequence.number, chunk.sequence.computed)
            raise
        for chunk in chunks:
            sequence = chunk.sequence
            computed = sequence.computed + chunk.n_rows
            ends_prompt = chunk.completes and not sequence.answering and not sequence.n_drafts
            comes_back = computed == sequence.checkpoint if sequence.checkpoint else ends_prompt
            self.cache.commit(sequence.number, comes_back=comes_back)
            sequence.lengths += map(sequence.length_at, range(sequence.computed, computed))
            sequence.computed = computed
            sequence.answering |= chunk.completes
        return logits


def _rows(chunks: Ordered[Chunk]) -> Rows:
    """Lay the chunks' tokens out one after the other."""
    tokens: list[int] = []
    positions: list[int] = []
    numbers: list[int] = []
    logit_rows: list[int] = []
    embeddings: list[Float32] = []
    lengths: list[int] = []
    for chunk in chunks:
        start, stop = chunk.sequence.computed, chunk.sequence.computed + chunk.n_rows
        for token in chunk.sequence.tokens[start:stop]:
            if token < 0:
                embeddings.append(chunk.sequence.embeddings[token])
            tokens.append(token if token >= 0 else -len(embeddings))
        positions += range(start, stop)
        lengths += map(chunk.sequence.length_at, range(start, stop))
        numbers += [chunk.sequence.number] * chunk.n_rows
        logit_rows += range(len(tokens) - chunk.n_logit_rows, len(tokens))
    return Rows(tokens, positions, numbers, logit_rows, np.stack(embeddings) if embeddings else None, lengths)
