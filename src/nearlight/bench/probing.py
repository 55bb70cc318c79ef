"""Profiles of an engine's two kinds of steps: one token at some depth, and a chunk of a prompt."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np

from nearlight.bench.contestant import hold, random_tokens
from nearlight.bench.profile import Profile, profile_step
from nearlight.counting.counted_model import CountedModel, Span
from nearlight.decode.policy import SamplingPolicy
from nearlight.decode.sampler import Sampler
from nearlight.engine.engine import Engine
from nearlight.errors import RequestError
from nearlight.kernels.cpu import CpuProgram


def profile_engine(
    engine: Engine, counted: CountedModel, *, n_rows: int, depth: int = 0, repetitions: int = 5
) -> Profile:
    """Profile a step of n_rows of one sequence after `depth` tokens, whose last row's logits are wanted."""
    program = engine.program
    if not isinstance(program, CpuProgram):
        raise RequestError("profiles", expected="the cpu backend", found=engine.ops.name)
    sequence = engine.open()
    tokens = random_tokens(n_rows, engine.model.vocab_size)

    def step() -> None:
        engine.extend(sequence, tokens)
        engine.step([sequence], n_rows)
        engine.rewind(sequence, depth)

    try:
        hold(engine, sequence, depth)
        return profile_step(program, (n_rows, 1), counted.step([Span(depth, n_rows)]), step, repetitions)
    finally:
        engine.close(sequence)


def sampling_seconds(vocab_size: int, repetitions: int = 5, clock: Callable[[], float] = perf_counter) -> float:
    """Return how long choosing a token takes by a usual policy, on logits like a model's: the median, by `clock`."""
    sampler = Sampler(SamplingPolicy(temperature=0.7, top_k=40, top_p=0.95, seed=0), vocab_size)
    logits = np.random.default_rng(0).normal(0, 3, vocab_size).astype(np.float32)
    times = []
    for _ in range(repetitions):
        started = clock()
        sampler.choose(logits)
        times.append(clock() - started)
    return median(times)
