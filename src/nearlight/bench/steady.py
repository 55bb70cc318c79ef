"""Measures only while the machine stays as it is.

A virtual machine is not always the same machine: its host may halve the memory bandwidth and give it back minutes
later, and neighbours take processor time. So the read bandwidth is probed before and after every repetition, and what
the repetition had to wait for a processor is added up. One that the machine changed under is thrown away and done
again, a bounded number of times; those that are kept were all measured in one state, whose bandwidth is told with them.
Where that cannot be had, the result says that it is unsteady, and why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Generic, TypeVar

from nearlight.machine.bandwidth_states import same_state, states
from nearlight.quantities import bytes_text

MOST_WAITING = 0.06
"""The part of a repetition that may be spent waiting for a processor that something else has."""

MOST_TRIES = 3
"""Tries at most, as a multiple of the repetitions wanted."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Try(Generic[T]):
    """Some work's result, and the machine around it.

    Units: bytes per second `before` and `after`; `waited` is a part of the work's time.
    """

    value: T
    before: float
    after: float
    waited: float

    @property
    def read_bytes_per_s(self) -> float:
        return (self.before + self.after) / 2

    @property
    def disturbance(self) -> str | None:
        """What changed under the work, None where nothing did."""
        if not same_state(self.before, self.after):
            return f"reading went at {_speed(self.before)} before and {_speed(self.after)} after"
        if self.waited > MOST_WAITING:
            return f"other programs or machines took {self.waited:.0%} of a processor"
        return None


@dataclass(frozen=True)
class Repetitions(Generic[T]):
    """The results of repetitions in one state, or, if `unsteady` says why not, of the best there were.

    `read_bytes_per_s` is the bandwidth that held; `discarded` says what disturbed each of those thrown away.
    """

    values: Sequence[T]
    read_bytes_per_s: float
    discarded: Sequence[str]
    unsteady: str | None = None


class Repeater:
    """Repeats work, and looks at the machine before and after each time.

    `probe` measures the read bandwidth in an instant; `waited_s` is how long this process has waited for processors so
    far; `clock` counts seconds.
    """

    def __init__(
        self,
        probe: Callable[[], float],
        waited_s: Callable[[], float] | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.probe = probe
        self._waited_s = waited_s or waiting_seconds
        self._clock = clock

    def repeat(self, work: Callable[[], T], wanted: int = 1) -> Repetitions[T]:
        """Repeat work until so many repetitions were undisturbed and in one state, or there were too many tries."""
        tries: list[Try[T]] = []
        while len(tries) < MOST_TRIES * wanted and len(_of_one_state(tries)) < wanted:
            quiet = tries and not tries[-1].disturbance
            tries.append(self._try(work, tries[-1].after if quiet else self.probe()))
        return _settled(tries, wanted)

    def _try(self, work: Callable[[], T], before: float) -> Try[T]:
        waited, started = self._waited_s(), self._clock()
        value = work()
        elapsed = self._clock() - started
        waited = self._waited_s() - waited
        return Try(value, before, self.probe(), max(waited, 0.0) / elapsed if elapsed > 0 else 0.0)


def waiting_seconds(root: Path = Path("/")) -> float:
    """Return how long this process's threads were ready and had no processor, and how long the host took processors.

    Zero where the system does not say. Source: Linux Documentation/scheduler/sched-stats.rst (schedstat), proc(5)
    (steal in /proc/stat, in ticks).
    """
    nanoseconds = 0
    for task in (root / "proc/self/task").glob("*/schedstat"):
        try:
            nanoseconds += int(task.read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue  # a thread that has just ended
    return nanoseconds / 1e9 + _stolen_seconds(root)


def _stolen_seconds(root: Path) -> float:
    try:
        fields = (root / "proc/stat").read_text().split("\n", 1)[0].split()
        return int(fields[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def _of_one_state(tries: Sequence[Try[T]]) -> list[Try[T]]:
    """Return the undisturbed tries of the state in which most were made."""
    quiet = [one for one in tries if one.disturbance is None]
    if not quiet:
        return []
    group = states(one.read_bytes_per_s for one in quiet)[0]
    return [one for one in quiet if group[-1] <= one.read_bytes_per_s <= group[0]]


def _settled(tries: Sequence[Try[T]], wanted: int) -> Repetitions[T]:
    """Keep the tries of one state; if there are too few, others too, the undisturbed first."""
    steady = _of_one_state(tries)
    others = sorted((one for one in tries if one not in steady), key=lambda one: one.disturbance is not None)
    kept, thrown = [*steady, *others][:wanted], others[max(wanted - len(steady), 0) :]
    state = median(one.read_bytes_per_s for one in kept)
    return Repetitions(
        values=[one.value for one in kept],
        read_bytes_per_s=state,
        discarded=[one.disturbance or _other_state(one, state) for one in thrown],
        unsteady=None if len(steady) >= wanted else _why(kept),
    )


def _why(kept: Sequence[Try[T]]) -> str:
    """Say why repetitions are not of one state."""
    disturbed = [one.disturbance for one in kept if one.disturbance]
    if disturbed:
        return f"{len(disturbed)} of {len(kept)} repetitions disturbed: {disturbed[-1]}"
    slowest, fastest = (_speed(pick(one.read_bytes_per_s for one in kept)) for pick in (min, max))
    return f"the machine changed between repetitions: reading went at {slowest} to {fastest}"


def _other_state(one: Try[T], state: float) -> str:
    return f"reading went at {_speed(one.read_bytes_per_s)}, and at {_speed(state)} for the others"


def _speed(bytes_per_s: float) -> str:
    return f"{bytes_text(bytes_per_s, 3)}/s"
