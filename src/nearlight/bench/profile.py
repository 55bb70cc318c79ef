"""Where a step's time went, op by op, beside what each op had to do.

The tape tells the seconds of every command, the counting kernels the cost of every op, both in the order of the
forward; so the two are joined by walking along both. The tape has one command more: quantizing activations for the
matrices that read them (`quantize`), which is counted with the product.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np

from nearlight.errors import ShapeError
from nearlight.kernels.count import OpCost, StepCost
from nearlight.kernels.cpu import CpuProgram
from nearlight.kernels.ops import Rows

QUANTIZE = "quantize"


@dataclass(frozen=True)
class Timed:
    """An op, what it costs and how long it took. `cost` is None for `quantize`."""

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
    program: CpuProgram, shape: tuple[int, int], cost: StepCost, step: Callable[[], None], repetitions: int
) -> Profile:
    """Run a step several times and return its profile, the median of each command.

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
        if name == QUANTIZE:
            timed.append(Timed(QUANTIZE, None, seconds))
            continue
        cost = next(costs, None)
        if cost is None or cost.name != name:
            raise ShapeError("a step's counted costs and its tape differ", expected=name, found=cost and cost.name)
        timed.append(Timed(role_of(cost), cost, seconds))
    left = next(costs, None)
    if left is not None:
        raise ShapeError("a step's counted costs and its tape differ", expected="the end", found=left.name)
    return timed


def role_of(cost: OpCost) -> str:
    """Name what an op does in every layer alike: "q_proj", "attend", "rms_norm", "head"."""
    if cost.kind != "linear":
        return cost.kind
    name = cost.name.removesuffix(".weight")
    layer = re.search(r"\.\d+\.(.+)$", name)
    return layer[1].rpartition(".")[2] if layer else "head"


def _rows_of(shape: tuple[int, int]) -> Rows:
    """Make rows that only have a shape, to find a recording by."""
    n_rows, n_logit_rows = np.zeros(shape[0], np.int32), np.zeros(shape[1], np.int32)
    return Rows(n_rows, n_rows, n_rows, n_logit_rows)
