"""This machine as a row of hardware: what its data sheet would say, measured; and as what a run is held against."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter, process_time

from nearlight.limits.cache import Cache
from nearlight.limits.costs import Costs
from nearlight.limits.hardware import Hardware
from nearlight.limits.run import IMPRECISION, RunLimit
from nearlight.machine import probe
from nearlight.machine.bandwidth_states import same_state
from nearlight.machine.memory import total_memory
from nearlight.machine.processor import cache_bytes, processor_name
from nearlight.machine.threads import default_threads
from nearlight.quantities import number_of

_GLANCES = 2
_LEAST_PRESENCE = 0.9
"""Of a glance's time, the part in which this process must have had a processor."""


def this_machine(threads: int | None = None) -> Hardware:
    """Describe this machine's processor by its probed ceilings, for `threads` threads (None: as the engine chooses).

    The first call on a machine measures for a few seconds.
    """
    found = probe.ceilings(threads or default_threads())
    name = f"{processor_name()}, {number_of(found.threads, 'thread')}"
    return Hardware(
        name,
        "cpu",
        total_memory(),
        found.read_bytes_per_s,
        found.flops,
        "nearlight roofline",
        "measured",
        Cache(cache_bytes(found.threads), found.cache_bytes_per_s) if found.cache_bytes_per_s else None,
    )


def limit_here(costs: Costs, threads: int, *, fresh: bool = False) -> RunLimit:
    """Return the limit of a model on this machine, from the figures on file; missing ones (or with `fresh`) are probed.

    The peaks take seconds to measure, so they are known only where they were.
    """
    memory_bytes_per_s = probe.read_bytes_per_s(threads, fresh=fresh)
    n_bytes = cache_bytes(threads)
    cache = Cache(n_bytes, probe.cache_bytes_per_s(threads, fresh=fresh)) if n_bytes else None
    known = probe.known_ceilings(threads)
    return RunLimit(costs, memory_bytes_per_s, known.flops if known else None, cache=cache)


def limit_after(costs: Costs, threads: int, tokens_per_s: float, context: float) -> RunLimit:
    """Return what a run that has just ended is held against, having glanced at the machine.

    If that was faster than the figures on file, they are probed anew, for what is asked next: they were taken in a
    slower state, or while something else had the machine.
    """
    on_file = limit_here(costs, threads)
    limit = limit_beside(on_file, tokens_per_s, context, partial(glance, threads))
    if limit.bytes_per_s(context) > on_file.bytes_per_s(context):
        limit_here(costs, threads, fresh=True)
    return limit


def limit_beside(limit: RunLimit, tokens_per_s: float, context: float, glance: Callable[[str], float]) -> RunLimit:
    """Return the limit in the state that the machine is in, just after a run that reached so many tokens a second.

    `glance` probes memory, or the cache, in an instant. One that agrees with the figure on file confirms it, another is
    repeated, and the higher counts, since what disturbs a probe makes it slower. A faster one is believed. A slower one
    shows another state of memory at most: the cache is the processor's own and has no states, and where the run was
    faster than the glances, they were of another moment than the run.
    """
    source = limit.reads_from(context)
    on_file, seen = limit.bandwidth(source), 0.0
    for _ in range(_GLANCES):
        seen = max(seen, glance(source))
        if same_state(seen, on_file):
            return limit
    beside = limit.seen_beside(source, seen) if seen else limit
    if seen < on_file and (source == "cache" or beside.share(tokens_per_s, context) > IMPRECISION):
        return limit
    return beside


def glance(threads: int, source: str) -> float:
    """Probe memory, or the cache, for 0.05 s; 0 where other programs had the processor meanwhile, which is no state of
    memory."""
    used, started = process_time(), perf_counter()
    seen = probe.read_now(threads, source)
    return seen if process_time() - used >= _LEAST_PRESENCE * (perf_counter() - started) else 0.0
