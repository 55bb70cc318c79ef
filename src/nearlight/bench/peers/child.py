"""The other end of a peer's process: takes orders as lines of JSON on stdin, answers on stdout.

    {"load": {…}}                                    → {"weights": "bf16", "version": "5.23.0"}
    {"prepare": {"n_prompt", "n_gen", "n_depth"}}    → {}
    {"run": {}}                                      → {"ns": 123456}

Whatever goes wrong is an answer too: {"error": "…"}. What a library prints goes to stderr, so that it cannot disturb
the conversation.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any, Protocol, TextIO

from nearlight.bench.contestant import random_tokens
from nearlight.bench.workload import Workload


class Engine(Protocol):
    """What a peer must be able to do."""

    weights: str
    version: str
    vocab_size: int

    def rewind(self, n_tokens: int) -> None:
        """Forget all but the first n_tokens of those computed, at least."""

    def forward(self, tokens: Sequence[int]) -> None:
        """Compute tokens after those that are held, and the logits of the last; return when that is done."""


def serve(load: Callable[[dict[str, Any]], Engine]) -> None:
    """Answer orders until stdin ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    converse(load, sys.stdin, answers)


def converse(load: Callable[[dict[str, Any]], Engine], orders: TextIO, answers: TextIO) -> None:
    """Answer every order of a stream in another."""
    runner: Runner | None = None
    for line in orders:
        try:
            order = json.loads(line)
            if "load" in order:
                engine = load(order["load"])
                runner = Runner(engine)
                answer: dict[str, Any] = {"weights": engine.weights, "version": engine.version}
            elif runner is None:
                answer = {"error": "nothing is loaded"}
            elif "prepare" in order:
                runner.prepare(Workload(**order["prepare"]))
                answer = {}
            else:
                answer = {"ns": runner.run()}
        except Exception as error:
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class Runner:
    """Does workloads on a peer as `OwnEngine` does them on this one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._workload = Workload(n_prompt=1)
        self._tokens: list[int] = []

    def prepare(self, workload: Workload) -> None:
        """Reach the depth by computing it, and run once to warm up."""
        self._workload = workload
        self._tokens = random_tokens(workload.n_tokens, self._engine.vocab_size)
        self._engine.rewind(0)
        if workload.n_depth:
            self._engine.forward(random_tokens(workload.n_depth, self._engine.vocab_size))
        self.run()

    def run(self) -> int:
        self._engine.rewind(self._workload.n_depth)
        started = perf_counter_ns()
        if self._workload.n_prompt:
            self._engine.forward(self._tokens)
        else:
            for token in self._tokens:
                self._engine.forward([token])
        return perf_counter_ns() - started
