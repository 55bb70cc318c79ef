"""Generates an answer: prefill, then choose, show, and step, until something ends it.

A `Stream` is what `LanguageModel.stream` returns: iterate it for pieces of text; its `completion` is filled as the
answer grows and stays valid however the iteration ends, so a person who presses Ctrl-C keeps what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

import numpy as np

from nearlight.decode.policy import SamplingPolicy
from nearlight.decode.sampler import Choice, Sampler
from nearlight.engine.completion import Completion, Limit
from nearlight.engine.engine import Engine
from nearlight.engine.sequence import Sequence
from nearlight.errors import RequestError
from nearlight.kernels.ops import Float32
from nearlight.text.answer import AnswerStream
from nearlight.text.streaming import Piece

PrefillProgress: TypeAlias = Callable[[int, int], None]
"""Told the prompt tokens computed so far, and in all."""


@dataclass(frozen=True)
class Rendered:
    """A prompt as token ids, and as the text the chat template made, if it did."""

    ids: Ordered[int]
    text: str | None = None


@dataclass(frozen=True)
class Request:
    """What to generate.

    Only ids below `n_tokens` are chosen: embeddings are often padded beyond the tokens there are.
    Units: `max_tokens` and `thinking_budget` count tokens; None is no limit but the context.
    """

    prompt_ids: Ordered[int]
    policy: SamplingPolicy
    stop_ids: frozenset[int]
    n_tokens: int
    max_tokens: int | None = None
    thinking_budget: int | None = None
    on_prefill: PrefillProgress | None = None

    def __post_init__(self) -> None:
        if not self.prompt_ids:
            raise RequestError("the prompt is empty", advice="give some text, or at least one token id")
        for name, value in (("max_tokens", self.max_tokens), ("thinking_budget", self.thinking_budget)):
            if value is not None and value < 0:
                raise RequestError(name, expected="0 or more", found=value)


class _Closed(Exception):  # noqa: N818  (a wish, not a mistake)
    """Raised inside a stream's own steps when another thread has closed it."""


class Stream:
    """Pieces of an answer while it is made. Iterate once."""

    def __init__(
        self,
        engine: Engine,
        sequence: Sequence,
        request: Request,
        answer: AnswerStream | None,
        *,
        load_s: float = 0.0,
        on_end: Callable[[Completion], None] | None = None,
    ) -> None:
        self.completion = Completion(prompt_tokens=len(request.prompt_ids))
        self.completion.timing.load_s = load_s
        self._engine = engine
        self._sequence = sequence
        self._request = request
        self._answer = answer
        self._on_end = on_end
        self._forced: list[int] = []
        self._closing = False
        self._ended = False
        self._started = perf_counter()
        self.completion.cached_tokens = engine.replace(sequence, request.prompt_ids)
        self._pieces = self._run()

    def __iter__(self) -> Iterator[Piece]:
        return self._pieces

    def close(self) -> None:
        """Stop the answer where it is; nothing happens if it has ended.

        Another thread than the one that iterates may do it, also during a step: the iteration then ends soon after.
        """
        self._closing = True
        try:
            self._pieces.close()
        except ValueError as error:
            if str(error) != "generator already executing":  # by another thread, in which `_watch` makes it end
                raise
        else:
            self._end()

    def leave_out(self, seconds: float) -> None:
        """Take a pause, in which the whole process was stopped, out of what is measured."""
        self._started += seconds

    def finish(self) -> Completion:
        """Run to the end and return the completion."""
        for _ in self._pieces:
            pass
        return self.completion

    def _run(self) -> Generator[Piece, None, None]:
        request, completion = self._request, self.completion
        sampler = Sampler(request.policy, self._engine.model.vocab_size)
        sampler.accept_prompt(list(request.prompt_ids))
        try:
            logits = self._prefill()
            while (limit := self._limit()) is None:
                self._watch()
                choice = self._choose(sampler, logits)
                completion.token_ids.append(choice.token)
                if request.policy.logprobs is not None:
                    completion.choices.append(choice)
                if choice.token in request.stop_ids:
                    break
                yield from self._show(choice.token)
                if self._answer and self._answer.stopped is not None:
                    break
                sampler.accept(choice.token)
                if (limit := self._limit()) is not None:
                    break
                logits = self._decode(choice.token)
            completion.finish_reason, completion.limit_reached = "length" if limit else "stop", limit
            yield from self._keep(self._answer.finish() if self._answer else [])
        except _Closed:
            return
        finally:
            self._end()

    def _watch(self) -> None:
        if self._closing:
            raise _Closed

    def _end(self) -> None:
        """Take in what was held back, and tell who asked; once, however the answer ends."""
        if self._ended:
            return
        self._ended = True
        if self.completion.finish_reason == "cancelled" and self._answer:
            self._keep(self._answer.finish())
        if self._on_end:
            self._on_end(self.completion)

    def _prefill(self) -> Float32:
        """Compute the prompt; return the logits after its last token."""
        sequence, request, timing = self._sequence, self._request, self.completion.timing
        timing.prefill_tokens = sequence.n_pending
        while True:
            logits = self._engine.step([sequence], watch=self._watch)
            if request.on_prefill:
                request.on_prefill(sequence.computed, len(sequence.tokens))
            if sequence in logits:
                timing.prefill_s = perf_counter() - self._started
                return logits[sequence]

    def _decode(self, token: int) -> Float32:
        """Compute one token; return the logits after it."""
        timing = self.completion.timing
        self._engine.extend(self._sequence, [token])
        logits = self._engine.step([self._sequence], watch=self._watch)[self._sequence]
        timing.decode_steps += 1
        timing.decode_s = perf_counter() - self._started - timing.prefill_s
        return logits

    def _limit(self) -> Limit | None:
        """Say which limit has been reached, if one has."""
        n_tokens = len(self.completion.token_ids)
        if self._request.max_tokens is not None and n_tokens >= self._request.max_tokens:
            return "max_tokens"
        # The last token is not computed, so it needs no place in the context.
        return "context" if self.completion.prompt_tokens + n_tokens > self._engine.context else None

    def _choose(self, sampler: Sampler, logits: Float32) -> Choice:
        answer, budget = self._answer, self._request.thinking_budget
        if answer and not self._forced and budget is not None and answer.thinking and answer.thinking_tokens >= budget:
            self._forced = answer.closing_ids()
        if self._forced:
            return Choice(self._forced.pop(0))
        logits[self._request.n_tokens :] = -np.inf
        return sampler.choose(logits)

    def _show(self, token: int) -> list[Piece]:
        pieces = self._keep(self._answer.push(token) if self._answer else [])
        timing = self.completion.timing
        if pieces and timing.ttft_s is None:
            timing.ttft_s = perf_counter() - self._started
        return pieces

    def _keep(self, pieces: list[Piece]) -> list[Piece]:
        for piece in pieces:
            if piece.channel == "answer":
                self.completion.text += piece.text
            else:
                self.completion.thinking += piece.text
        return pieces
