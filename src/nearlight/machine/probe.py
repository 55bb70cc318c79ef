"""This machine's ceilings: how fast some threads can read memory and the last caches, and multiply, at the level of
instructions in use.

Every limit and every share of one is measured against these. They are measured once, and then kept (`figures`), so that
a run does not pay for it.

A disturbed measurement is too low and never too high, so of several peaks the highest is kept. A bandwidth is another
matter: virtual machines have states (`bandwidth_states`), and what counts is the one that holds. So reading is probed
several times, between the peaks, and a new measurement replaces the old one even where it is lower.

Memory is read in a buffer several times as large as the last caches, the caches in one of half their size: about what a
model that stays there reads in a step, with room for whatever else is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from nearlight import _native
from nearlight.machine.bandwidth_states import distinct_states
from nearlight.machine.figures import Figure, keep_figure, known_figure
from nearlight.machine.memory import total_memory
from nearlight.machine.processor import cache_bytes, last_cache_bytes

READ_SECONDS, PEAK_SECONDS, GLANCE_SECONDS = {"read": 0.3, "cache": 0.1}, 0.25, 0.02
LEAST_BUFFER_BYTES = 256 << 20
CACHES = 4
"""Of a buffer this many times as large as the last caches, next to nothing is left there when it is read again."""

Progress: TypeAlias = Callable[[int, int], None]
"""Told the measurements done so far, and in all."""


@dataclass(frozen=True)
class Ceilings:
    """What `threads` threads together can do at most.

    Units: bytes per second; operations per second by data type ("fp32", "bf16", "int16", "int8"), an addition and a
    multiplication being two. `other_states` are bandwidths that were seen too, while `read_bytes_per_s` held for most
    of the time; `taken` is when reading was probed (ISO 8601). `cache_bytes_per_s` is None where it was not probed, or
    the system tells of no caches.
    """

    threads: int
    read_bytes_per_s: float
    flops: Mapping[str, float]
    taken: str = ""
    other_states: tuple[float, ...] = ()
    cache_bytes_per_s: float | None = None


def ceilings(threads: int, *, fresh: bool = False) -> Ceilings:
    """Return the ceilings of `threads` threads, from the cache file unless `fresh`; new ones take three seconds."""
    figures = ("read", "cache") if cache_bytes(threads) else ("read",)
    reads = {} if fresh else {name: figure for name in figures if (figure := known_figure(name, threads))}
    probes = {name: [_probe(name, threads)] for name in figures if name not in reads}
    flops = {}
    for type in _native.DataType:
        flops[type.name] = _peak(type, threads, fresh)
        for name, found in probes.items():  # again, some time later
            found.append(_probe(name, threads))
    reads |= {name: keep_figure(name, threads, *distinct_states(found)) for name, found in probes.items()}
    return _ceilings(threads, flops, reads["read"], reads.get("cache"))


def known_ceilings(threads: int) -> Ceilings | None:
    """Return the ceilings of `threads` threads if all of them are in the cache file."""
    read = known_figure("read", threads)
    flops = {type.name: known_figure(type.name, threads) for type in _native.DataType}
    if read is None or None in flops.values():
        return None
    peaks = {name: figure.per_s for name, figure in flops.items() if figure}
    return _ceilings(threads, peaks, read, known_figure("cache", threads))


def ceilings_by_threads(most: int, *, fresh: bool = False, progress: Progress | None = None) -> list[Ceilings]:
    """Return the ceilings of `most` threads and of fewer."""
    counts = thread_counts(most)
    found = []
    for done, threads in enumerate(counts):
        if progress:
            progress(done, len(counts))
        found.append(ceilings(threads, fresh=fresh))
    return found


def thread_counts(most: int) -> list[int]:
    """Return the numbers of threads worth measuring: 1 … 4, then doublings, then all."""
    counts = {1, 2, 3, most}
    doubled = 4
    while doubled < most:
        counts.add(doubled)
        doubled *= 2
    return sorted(count for count in counts if count <= most)


def read_bytes_per_s(threads: int, *, fresh: bool = False) -> float:
    """Return the bandwidth of memory for `threads` threads, from the cache file unless `fresh`."""
    return _read("read", threads, fresh)


def cache_bytes_per_s(threads: int, *, fresh: bool = False) -> float:
    """Return the bandwidth of the last caches for `threads` threads, likewise."""
    return _read("cache", threads, fresh)


def read_now(threads: int, source: str = "memory") -> float:
    """Probe the bandwidth of memory, or of the cache, as it is at this moment, in 0.05 s or a little more; nothing is
    kept."""
    n_bytes = _cache_buffer(threads) if source == "cache" else CACHES * cache_bytes(threads) or _memory_buffer()
    return _native.probe_read(n_bytes, threads, GLANCE_SECONDS)


def _peak(type: _native.DataType, threads: int, fresh: bool) -> float:
    known = known_figure(type.name, threads)
    if known and not fresh:
        return known.per_s
    measured = _native.probe_peak(type, threads, PEAK_SECONDS)
    return keep_figure(type.name, threads, max(measured, known.per_s if known else 0.0)).per_s


def _read(name: str, threads: int, fresh: bool) -> float:
    known = None if fresh else known_figure(name, threads)
    return (known or keep_figure(name, threads, _probe(name, threads))).per_s


def _probe(name: str, threads: int) -> float:
    n_bytes = _cache_buffer(threads) if name == "cache" else _memory_buffer()
    return _native.probe_read(n_bytes, threads, READ_SECONDS[name])


def _memory_buffer() -> int:
    """Choose how much to read: too much for any cache, but not more than a quarter of memory."""
    return min(max(LEAST_BUFFER_BYTES, CACHES * last_cache_bytes()), total_memory() // 4)


def _cache_buffer(threads: int) -> int:
    return cache_bytes(threads) // 2


def _ceilings(threads: int, flops: Mapping[str, float], read: Figure, cache: Figure | None) -> Ceilings:
    return Ceilings(threads, read.per_s, flops, read.taken, read.others, cache.per_s if cache else None)
