"""What is measured, in llama-bench's terms and names, and who does it: this engine here, peers in other processes.

    pp512           compute a prompt of 512 tokens
    tg64            generate 64 tokens, one step each, from an empty context
    tg64 @ d4096    the same with 4096 tokens already in the context

Source: llama.cpp, tools/llama-bench/README.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Protocol

import numpy as np

from nearlight.bench.steady import Repeater, Repetitions
from nearlight.engine.engine import STEP_ROWS, Engine
from nearlight.engine.sequence import Sequence as TokenSequence
from nearlight.errors import RequestError


@dataclass(frozen=True)
class Workload:
    """A prompt of `n_prompt` tokens or `n_gen` single-token steps, after `n_depth` tokens of context."""

    n_prompt: int = 0
    n_gen: int = 0
    n_depth: int = 0

    def __post_init__(self) -> None:
        if min(self.n_prompt, self.n_gen, self.n_depth) < 0 or (self.n_prompt > 0) == (self.n_gen > 0):
            raise RequestError("a test", expected="a number of prompt tokens, or of tokens to generate", found=self)

    @property
    def name(self) -> str:
        work = f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"
        return f"{work} @ d{self.n_depth}" if self.n_depth else work

    @property
    def n_tokens(self) -> int:
        """Tokens that the speed is told in."""
        return self.n_prompt + self.n_gen

    @property
    def context(self) -> int:
        """Tokens that the context must hold at the end."""
        return self.n_depth + self.n_tokens


def sweep(prompts: Iterable[int], gens: Iterable[int], depths: Iterable[int]) -> list[Workload]:
    """Combine llama-bench's lists: at every depth each prompt, then each generation; 0 leaves a test out."""
    workloads = []
    prompts, gens = list(prompts), list(gens)
    for depth in depths:
        workloads += [Workload(n_prompt=n, n_depth=depth) for n in prompts if n]
        workloads += [Workload(n_gen=n, n_depth=depth) for n in gens if n]
    if not workloads:
        raise RequestError("nothing to measure", advice="give -p (prompt tokens) or -n (tokens to generate) above 0")
    return workloads


class Runner(Protocol):
    """An engine with a model loaded, that does a workload as often as it is asked to."""

    @property
    def name(self) -> str: ...

    @property
    def weights(self) -> str:
        """The name of its weights' format."""

    def prepare(self, workload: Workload) -> None:
        """Get everything done that is not measured: the depth reached, buffers made, code warmed up."""

    def run(self) -> int:
        """Do the prepared workload once and return how long it took. Units: nanoseconds."""

    def close(self) -> None: ...


class OwnRunner:
    """nearlight itself. What is timed is `Engine.step`, without tokenization and without sampling.

    The context of a workload with depth is not computed: cells are reserved and counted as if they were, since the
    kernels' time does not depend on what keys and values hold. So a depth of 32768 costs nothing to reach.
    Units: `chunk` counts the rows of a prefill step.
    """

    name = "nearlight"

    def __init__(self, engine: Engine, weights: str, chunk: int = STEP_ROWS) -> None:
        self.engine = engine
        self.weights = weights
        self.chunk = chunk
        self._sequence: TokenSequence | None = None
        self._workload = Workload(n_prompt=1)
        self._tokens: list[int] = []

    def prepare(self, workload: Workload) -> None:
        self.close()
        self._workload = workload
        self._sequence = self.engine.open()
        self._tokens = random_tokens(workload.n_tokens, self.engine.model.vocab_size)
        hold(self.engine, self._sequence, workload.n_depth)
        self.run()

    def run(self) -> int:
        assert self._sequence is not None
        self.engine.rewind(self._sequence, self._workload.n_depth)
        if self._workload.n_prompt:
            return self._prompt(self._sequence)
        return self._generate(self._sequence)

    def close(self) -> None:
        if self._sequence is not None:
            self.engine.close(self._sequence)
            self._sequence = None

    def _prompt(self, sequence: TokenSequence) -> int:
        self.engine.extend(sequence, self._tokens)
        started = perf_counter_ns()
        while sequence.n_pending:
            self.engine.step([sequence], self.chunk)
        return perf_counter_ns() - started

    def _generate(self, sequence: TokenSequence) -> int:
        started = perf_counter_ns()
        for token in self._tokens:
            self.engine.extend(sequence, [token])
            self.engine.step([sequence])
        return perf_counter_ns() - started


def hold(engine: Engine, sequence: TokenSequence, n_tokens: int) -> None:
    """Make the cache hold n_tokens of an empty sequence, without computing them: keys and values are zeros."""
    engine.extend(sequence, [0] * n_tokens)
    engine.cache.hold(sequence.number, n_tokens)
    sequence.computed, sequence.lengths = n_tokens, [n_tokens] * n_tokens


def random_tokens(n_tokens: int, vocab_size: int) -> list[int]:
    """Return token ids, the same ones every time, so that rows of the embedding are met at random."""
    ids: list[int] = np.random.default_rng(0).integers(0, vocab_size, n_tokens).tolist()
    return ids


def alternate(
    runners: Sequence[Runner], workload: Workload, repetitions: int, repeater: Repeater
) -> Repetitions[dict[str, int]]:
    """Measure runners in turns, so that what disturbs the machine disturbs them alike, and in one of its states.

    Units: nanoseconds by the runner's name, for every repetition.
    """
    for runner in runners:
        runner.prepare(workload)
    return repeater.repeat(lambda: {runner.name: runner.run() for runner in runners}, repetitions)
