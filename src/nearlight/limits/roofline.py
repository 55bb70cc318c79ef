"""From costs to time on a machine: a step takes as long as its reading or its computing, whichever is slower.

That is a lower bound: it supposes that reading and computing overlap fully and each reaches its ceiling. Whatever a
run measures beyond it was lost somewhere, and `--explain` says where.

Source: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nearlight.limits.costs import Cost, Costs
from nearlight.limits.hardware import Hardware

_LINE_TOKENS = 1024
_MOST_ROWS = 1 << 17


@dataclass(frozen=True)
class StepTime:
    """The least time of a step, or of several one after the other. Units: seconds."""

    read_s: float
    compute_s: float
    total_s: float

    @property
    def bound(self) -> str:
        """What bounds it: "bandwidth" or "compute"."""
        return "bandwidth" if self.read_s >= self.compute_s else "compute"


@dataclass(frozen=True)
class DecodeLine:
    """Decode latency against position: `first_s` with nothing cached, then a second more every so many tokens.

    Units: `tokens_per_ms` counts the tokens of context that cost one millisecond more (inf: context costs nothing).
    """

    first_s: float
    tokens_per_ms: float

    def tpot_s(self, context: float) -> float:
        return self.first_s + context / (1000 * self.tokens_per_ms)


def step_time(cost: Cost, hardware: Hardware) -> StepTime:
    """Return the least time in which a machine can do a step, one of many of its kind."""
    n_bytes = cost.bytes_read + cost.bytes_written
    read_s = n_bytes / hardware.read_bytes_per_s(n_bytes)
    compute_s = sum(count / hardware.peak(data_type) for data_type, count in cost.operations.items())
    return StepTime(read_s, compute_s, max(read_s, compute_s))


def steps_time(costs: Iterable[Cost], hardware: Hardware) -> StepTime:
    """Return the least time of steps that must wait for one another, as the chunks of a prompt do."""
    times = [step_time(cost, hardware) for cost in costs]
    return StepTime(*(sum(getattr(time, name) for time in times) for name in ("read_s", "compute_s", "total_s")))


def decode_line(costs: Costs, hardware: Hardware, batch: int = 1) -> DecodeLine:
    """Return decode latency as a line: exact without sliding windows, and while reading, from one place, bounds."""
    first_s = step_time(costs.decode(0, batch), hardware).total_s
    later_s = step_time(costs.decode(_LINE_TOKENS, batch), hardware).total_s
    added_ms = 1000 * (later_s - first_s)
    return DecodeLine(first_s, _LINE_TOKENS / added_ms if added_ms > 0 else float("inf"))


def inflection(cost_of_rows: Callable[[int], Cost], hardware: Hardware, most: int = _MOST_ROWS) -> float | None:
    """Find how many rows a step must have for computing to take as long as reading.

    Fewer rows cost the same time as this many: they wait for memory. None where no step of up to `most` rows is bound
    by computing. Between two whole numbers of rows the point is interpolated.
    """

    def excess_s(rows: int) -> float:
        time = step_time(cost_of_rows(rows), hardware)
        return time.compute_s - time.read_s

    below, above = 0, 1
    while excess_s(above) < 0:
        if above >= most:
            return None
        below, above = above, min(2 * above, most)
    if below == 0:
        return 1.0
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if excess_s(middle) < 0 else (below, middle)
    lacking, exceeding = -excess_s(below), excess_s(above)
    return below + lacking / (lacking + exceeding)


def largest(holds: Callable[[int], bool], most: int) -> int:
    """Return the largest n in 1 … most for which a condition holds that holds for all smaller ones; else 0."""
    if most < 1 or not holds(1):
        return 0
    below, above = 1, 2
    while above < most and holds(above):
        below, above = above, 2 * above
    if above >= most:
        if holds(most):
            return most
        above = most
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if holds(middle) else (below, middle)
    return below


def largest_context(kv_bytes: Callable[[int], float], room_bytes: float, most: int) -> int:
    """Return how many tokens of one sequence fit into the room beside weights and overhead, at most `most`."""
    return largest(lambda n_tokens: kv_bytes(n_tokens) <= room_bytes, most)
