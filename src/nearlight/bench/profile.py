"""Where a step's time goes, op by op: its profile, and the account that `--explain` gives of it.

The tape tells the seconds of every command, the counting kernels the cost of every op, both in the order of the
forward; so the two are joined by walking along both. The tape has commands more, which are counted with the product:
quantizing activations for the matrices that read them (`quantize`), and sorting rows by their experts (`sort pairs`).

An account leaves nothing out: beside the ops stand quantizing activations, the waiting of threads for one another, and
what happens around the native step (Python, waking the threads, copying the logits). Choosing a token is no part of a
step, so it is told apart. An op's own limit is that of its bytes and operations; what costs neither (lookups, waiting)
has none, and all of its time could be gained.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from nearlight.bench.runner import hold, random_tokens
from nearlight.counting.counted_model import CountedModel, Span
from nearlight.decode.policy import SamplingPolicy
from nearlight.decode.sampler import Sampler
from nearlight.engine.engine import Engine
from nearlight.errors import RequestError, ShapeError
from nearlight.kernels.count import OpCost, StepCost
from nearlight.kernels.cpu import CpuProgram
from nearlight.kernels.ops import Rows
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import step_time

QUANTIZE, SORT = "quantize", "sort pairs"
WAITING, AROUND = "threads waiting", "around the step"

# -- the profile -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timed:
    """An op, what it costs and how long it took. `cost` is None for what is counted with another op."""

    role: str
    cost: OpCost | None
    seconds: float


@dataclass(frozen=True)
class Profile:
    """A step's time: its ops, waiting at barriers, and what lies around the tape (Python, waking threads, copying).

    Units: seconds. `step_s` is all of it.
    """

    ops: Sequence[Timed]
    waiting_s: float
    around_s: float

    @property
    def step_s(self) -> float:
        return sum(op.seconds for op in self.ops) + self.waiting_s + self.around_s


def profile_step(
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
        return _profile(program, (n_rows, 1), counted.step([Span(depth, n_rows)]), step, repetitions)
    finally:
        engine.close(sequence)


def _profile(
    program: CpuProgram, shape: tuple[int, int], cost: StepCost, step: Callable[[], None], repetitions: int
) -> Profile:
    """Run a step several times and take the median of each command.

    `step` runs the program once with `shape` rows and logit rows, and undoes it; `cost` is that step's.
    """
    step()
    tape = program.recording(_rows_of(shape)).tape
    seconds: list[list[float]] = []
    waiting: list[float] = []
    around: list[float] = []
    for _ in range(repetitions):
        tape.set_profiling(True)
        started = perf_counter()
        step()
        elapsed = perf_counter() - started
        seconds.append([time for _, time in tape.profile()])
        waiting.append(tape.waited_seconds)
        around.append(elapsed - sum(seconds[-1]) - waiting[-1])
    tape.set_profiling(False)
    names = [name for name, _ in tape.profile()]
    middle = [median(times) for times in zip(*seconds, strict=True)]
    return Profile(join(zip(names, middle, strict=True), cost), median(waiting), max(median(around), 0.0))


def join(commands: Iterable[tuple[str, float]], step: StepCost) -> list[Timed]:
    """Give every command its cost. Raises: ShapeError where the two tell of different steps."""
    costs = iter(step)
    timed = []
    for name, seconds in commands:
        if name in (QUANTIZE, SORT):
            timed.append(Timed(name, None, seconds))
            continue
        cost = next(costs, None)
        if cost is None or cost.name != name:
            raise ShapeError("a step's counted costs and its tape differ", expected=name, found=cost and cost.name)
        timed.append(Timed(role_of(cost), cost, seconds))
    left = next(costs, None)
    if left is not None:
        raise ShapeError("a step's counted costs and its tape differ", expected="the end", found=left.name)
    return timed


_OUTSIDE_LAYERS = {"per_layer_model_projection"}
"""Matrices outside the layers that are not the head."""


def role_of(cost: OpCost) -> str:
    """Name what an op does in every layer alike: "q_proj", "attend", "rms_norm", "head"."""
    if cost.kind != "linear":
        return cost.kind
    name = cost.name.removesuffix(".weight")
    layer, last = re.search(r"\.\d+\.(.+)$", name), name.rpartition(".")[2]
    return last if layer or last in _OUTSIDE_LAYERS else "head"


def _rows_of(shape: tuple[int, int]) -> Rows:
    """Make rows that only have a shape, to find a recording by."""
    n_rows, n_logit_rows = np.zeros(shape[0], np.int32), np.zeros(shape[1], np.int32)
    return Rows(n_rows, n_rows, n_rows, n_logit_rows)


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


# -- the account -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """The time of one kind of op in a step.

    Units: seconds, bytes, operations. `calls` is how many there are, `data_type` what most operations are done in (""
    without any). `gain` is how many times as fast the step would be if this reached its limit.
    """

    kind: str
    calls: int
    seconds: float
    share_of_step: float
    n_bytes: float
    operations: float
    data_type: str
    limit_s: float
    gain: float

    @property
    def bytes_per_s(self) -> float:
        return self.n_bytes / self.seconds if self.seconds else 0.0

    @property
    def flops_per_s(self) -> float:
        return self.operations / self.seconds if self.seconds else 0.0

    @property
    def share_of_limit(self) -> float | None:
        """The part of its own limit that was reached; None where there is no limit to reach."""
        return self.limit_s / self.seconds if self.limit_s and self.seconds else None

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "calls": self.calls,
            "seconds": self.seconds,
            "share": self.share_of_step,
            "bytes": self.n_bytes,
            "flops": self.operations,
            "data_type": self.data_type,
            "bytes_per_s": self.bytes_per_s,
            "flops_per_s": self.flops_per_s,
            "limit_s": self.limit_s,
            "share_of_limit": self.share_of_limit,
            "gain": self.gain,
        }


@dataclass(frozen=True)
class Explanation:
    """A step taken apart. `name` is the step's; `n_tokens` how many it computes.

    Units: seconds. `sampling_s` is what choosing a token by a usual policy takes besides; 0 where none is chosen.
    """

    name: str
    n_tokens: int
    step_s: float
    limit_s: float
    accounts: Sequence[Account]
    sampling_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "step": self.name,
            "n_tokens": self.n_tokens,
            "step_s": self.step_s,
            "limit_s": self.limit_s,
            "sampling_s": self.sampling_s,
            "accounts": [account.as_json() for account in self.accounts],
        }


def explain(name: str, n_tokens: int, profile: Profile, hardware: Hardware, sampling_s: float = 0.0) -> Explanation:
    """Account for a profile, the largest part first."""
    groups: dict[str, list[Timed]] = {}
    for op in profile.ops:
        groups.setdefault(_kind(op.role), []).append(op)
    whole = _cost(op for ops in groups.values() for op in ops)
    hardware = hardware.for_step(whole.bytes_read + whole.bytes_written)
    groups |= {what: [Timed(what, None, s)] for what, s in ((WAITING, profile.waiting_s), (AROUND, profile.around_s))}
    accounts = [_account(kind, ops, profile.step_s, hardware) for kind, ops in groups.items()]
    accounts.sort(key=lambda account: -account.seconds)
    limit_s = step_time(whole, hardware).total_s
    return Explanation(name, n_tokens, profile.step_s, limit_s, accounts, sampling_s)


def _kind(role: str) -> str:
    """Name a role for people."""
    return {"rms_norm": "norms", "layer_norm": "norms", "attend": "attention", QUANTIZE: "quantize activations"}.get(
        role, role
    )


def _cost(ops: Iterable[Timed]) -> StepCost:
    return StepCost(op.cost for op in ops if op.cost is not None)


def _account(kind: str, ops: Sequence[Timed], step_s: float, hardware: Hardware) -> Account:
    cost, seconds = _cost(ops), sum(op.seconds for op in ops)
    limit_s = step_time(cost, hardware).total_s
    gainable = max(seconds - limit_s, 0.0)
    return Account(
        kind=kind,
        calls=len(ops),
        seconds=seconds,
        share_of_step=seconds / step_s,
        n_bytes=cost.bytes_read + cost.bytes_written,
        operations=sum(cost.operations.values()),
        data_type=max(cost.operations, key=cost.operations.__getitem__, default=""),
        limit_s=limit_s,
        gain=step_s / (step_s - gainable) if gainable < step_s else float("inf"),
    )
