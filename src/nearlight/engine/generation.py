"""One answer under way: told logits, it chooses tokens until something ends it.

It computes nothing itself. A `Scheduler` steps its sequence and hands it the logits; what may be shown waits until it
is taken. Its `completion` grows with the answer and stays valid however that ends.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

import numpy as np

from nearlight.decode.policy import SamplingPolicy
from nearlight.decode.sampler import Choice, Sampler
from nearlight.engine.completion import Completion, Limit
from nearlight.engine.sequence import Sequence
from nearlight.errors import RequestError
from nearlight.kernels.ops import Float32
from nearlight.text.answer import AnswerStream
from nearlight.text.streaming import Piece

PrefillProgress: TypeAlias = Callable[[int, int], None]
"""Told the prompt tokens computed so far, and in all."""


@dataclass(frozen=True)
class Rendered:
    """A prompt as token ids, and as the text the chat template made, if it did.

    `lasting` tells how many of the ids the chat's next prompt will begin with, where that is known.
    """

    ids: Ordered[int]
    text: str | None = None
    lasting: Callable[[], int] | None = None


@dataclass(frozen=True)
class Request:
    """What to generate.

    Only ids below `n_tokens` are chosen: embeddings are often padded beyond the tokens there are. The next prompt will
    begin like the first `checkpoint` ids.
    Units: `max_tokens` and `thinking_budget` count tokens; None is no limit but the context.
    """

    prompt_ids: Ordered[int]
    policy: SamplingPolicy
    stop_ids: frozenset[int]
    n_tokens: int
    max_tokens: int | None = None
    thinking_budget: int | None = None
    on_prefill: PrefillProgress | None = None
    checkpoint: int = 0

    def __post_init__(self) -> None:
        if not self.prompt_ids:
            raise RequestError("the prompt is empty", advice="give some text, or at least one token id")
        for name, value in (("max_tokens", self.max_tokens), ("thinking_budget", self.thinking_budget)):
            if value is not None and value < 0:
                raise RequestError(name, expected="0 or more", found=value)


class Generation:
    """An answer in the making.

    `error` is what made it impossible to go on, if something did. `cancelled` may be set by any thread: then the answer
    ends soon, where it is.
    """

    def __init__(
        self,
        sequence: Sequence,
        request: Request,
        answer: AnswerStream | None = None,
        *,
        load_s: float = 0.0,
        on_end: Callable[[Completion], None] | None = None,
    ) -> None:
        self.sequence = sequence
        self.request = request
        self.completion = Completion(prompt_tokens=len(request.prompt_ids))
        self.completion.timing.load_s = load_s
        self.cancelled = False
        self.ended = False
        self.error: Exception | None = None
        self._answer = answer
        self._on_end = on_end
        self._waiting: list[Piece] = []
        self._forced: list[int] = []
        self._prompt_is_there = False
        self._started = perf_counter()

    # -- what a scheduler calls ------------------------------------------------------------------------------------

    def begin(self, context: int, vocab_size: int) -> None:
        """Take in that the sequence holds the prompt now, some of it computed already."""
        self._context = context
        self._sampler = Sampler(self.request.policy, vocab_size)
        self._sampler.accept_prompt(list(self.request.prompt_ids))
        self.completion.cached_tokens = self.sequence.computed
        self.completion.timing.prefill_tokens = self.sequence.n_pending

    def stepped(self, logits: Float32 | None) -> int | None:
        """Take in that a step was computed, and the logits [V] after the last token if it was among its rows.

        Return the token that is to be computed next; None where there is none (yet): the prompt goes on, or the answer
        has ended.
        """
        timing, now = self.completion.timing, perf_counter() - self._started
        if self._prompt_is_there and logits is not None:
            timing.decode_steps += 1
            timing.decode_s = now - timing.prefill_s
        elif not self._prompt_is_there:
            self._prompt_is_there, timing.prefill_s = logits is not None, now
            if self.request.on_prefill:
                self.request.on_prefill(self.sequence.computed, len(self.sequence.tokens))
        return None if logits is None or self.cancelled else self._next(logits)

    def fail(self, error: Exception) -> None:
        """End the answer, which cannot go on."""
        self.error, self._answer = error, None  # what it held back may be what is wrong
        self.end()

    def end(self) -> None:
        """Take in what was held back, and tell who asked; once, however the answer ends."""
        if self.ended:
            return
        self.ended = True
        if self._answer:
            self._keep(self._answer.finish())
        if self._on_end:
            self._on_end(self.completion)

    # -- what who shows it calls -----------------------------------------------------------------------------------

    def take(self) -> list[Piece]:
        """Return the pieces that may be shown and were not taken before."""
        pieces, self._waiting = self._waiting, []
        return pieces

    def leave_out(self, seconds: float) -> None:
        """Take a pause, in which the whole process was stopped, out of what is measured."""
        self._started += seconds

    # -- choosing --------------------------------------------------------------------------------------------------

    def _next(self, logits: Float32) -> int | None:
        if self._limited():
            return None
        choice = self._choose(logits)
        self.completion.token_ids.append(choice.token)
        if self.request.policy.logprobs is not None:
            self.completion.choices.append(choice)
        if choice.token in self.request.stop_ids or self._show(choice.token):
            self._finish("stop")
            return None
        self._sampler.accept(choice.token)
        return None if self._limited() else choice.token

    def _choose(self, logits: Float32) -> Choice:
        answer, budget = self._answer, self.request.thinking_budget
        if answer and not self._forced and budget is not None and answer.thinking and answer.thinking_tokens >= budget:
            self._forced = answer.closing_ids()
        if self._forced:
            return Choice(self._forced.pop(0))
        logits[self.request.n_tokens :] = -np.inf
        return self._sampler.choose(logits)

    def _limited(self) -> bool:
        """End the answer if it has reached a limit; say whether it has."""
        n_tokens = len(self.completion.token_ids)
        limit: Limit | None = None
        if self.request.max_tokens is not None and n_tokens >= self.request.max_tokens:
            limit = "max_tokens"
        elif self.completion.prompt_tokens + n_tokens > self._context:  # the last token is not computed
            limit = "context"
        if limit:
            self._finish("length", limit)
        return limit is not None

    def _finish(self, reason: str, limit: Limit | None = None) -> None:
        self.completion.finish_reason, self.completion.limit_reached = reason, limit
        self.end()

    # -- showing ---------------------------------------------------------------------------------------------------

    def _show(self, token: int) -> bool:
        """Show what a token lets be shown; say whether a stop string came."""
        if not self._answer:
            return False
        pieces = self._answer.push(token)
        self._keep(pieces)
        timing = self.completion.timing
        if pieces and timing.ttft_s is None:
            timing.ttft_s = perf_counter() - self._started
        return self._answer.stopped is not None

    def _keep(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if piece.channel == "answer":
                self.completion.text += piece.text
            else:
                self.completion.thinking += piece.text
        self._waiting += pieces
