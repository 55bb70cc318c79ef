"""The other end of a peer's process: takes requests as lines of JSON on stdin, gives responses on stdout.

    {"load": {…}}                                    → {"weights": "bf16"}
    {"prepare": {"n_prompt", "n_gen", "n_depth"}}    → {}
    {"run": {}}                                      → {"ns": 123456}

Whatever goes wrong is a response too: {"error": "…"}. What a library prints goes to stderr, so that it cannot disturb
the conversation.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any, Protocol, TextIO

from nearlight.bench.runner import Workload, random_tokens


class PeerEngine(Protocol):
    """What a peer must be able to do."""

    weights: str
    vocab_size: int

    def rewind(self, n_tokens: int) -> None:
        """Forget all but the first n_tokens of those computed, at least."""

    def forward(self, tokens: Sequence[int]) -> None:
        """Compute tokens after those that are held, and the logits of the last; return when that is done."""


def serve(load: Callable[[dict[str, Any]], PeerEngine]) -> None:
    """Answer requests until stdin ends."""
    responses = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    converse(load, sys.stdin, responses)


def converse(load: Callable[[dict[str, Any]], PeerEngine], requests: TextIO, responses: TextIO) -> None:
    """Answer every request of a stream in another."""
    runner: PeerRunner | None = None
    for line in requests:
        try:
            request = json.loads(line)
            if "load" in request:
                engine = load(request["load"])
                runner = PeerRunner(engine)
                response: dict[str, Any] = {"weights": engine.weights}
            elif runner is None:
                response = {"error": "nothing is loaded"}
            elif "prepare" in request:
                runner.prepare(Workload(**request["prepare"]))
                response = {}
            else:
                response = {"ns": runner.run()}
        except Exception as error:
            response = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        responses.write(json.dumps(response) + "\n")
        responses.flush()


class PeerRunner:
    """Does workloads on a peer as `OwnRunner` does them on this engine."""

    def __init__(self, engine: PeerEngine) -> None:
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
