"""This machine's ceilings: how fast some threads can read memory and the last caches, and multiply, at the level of
instructions in use.

Every limit and every share of one is measured against these. They are measured once per machine, instruction level and
number of threads, then kept as JSON in the user's cache directory with the time they were taken, so that a run does not
pay for it.

A disturbed measurement is too low and never too high, so of several peaks the highest is kept. A bandwidth is another
matter: virtual machines have states (`levels`), and what counts is the one that holds. So reading is probed several
times, between the peaks, and a new measurement replaces the old one even where it is lower.

Memory is read in a buffer several times as large as the last caches, the caches in one of half their size: about what a
model that stays there reads in a step, with room for whatever else is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from nearlight import _native
from nearlight.errors import RequestError
from nearlight.machine.bandwidth_states import distinct_levels
from nearlight.machine.memory import total_memory

READ_SECONDS, PEAK_SECONDS, GLANCE_SECONDS = {"read": 0.3, "cache": 0.1}, 0.25, 0.02
LEAST_BUFFER_BYTES = 256 << 20
CACHES = 4
"""Of a buffer this many times as large as the last caches, next to nothing is left there when it is read again."""

Progress: TypeAlias = Callable[[int, int], None]
"""Told the measurements done so far, and in all."""


@dataclass(frozen=True)
class Figure:
    """A measured ceiling, when it was measured (ISO 8601), and the other levels that were seen then."""

    per_s: float
    taken: str
    others: tuple[float, ...] = ()


@dataclass(frozen=True)
class Ceilings:
    """What `threads` threads together can do at most.

    Units: bytes per second; operations per second by data type ("fp32", "bf16", "int16", "int8"), an addition and a
    multiplication being two. `other_levels` are bandwidths that were seen too, while `read_bytes_per_s` held for most
    of the time; `taken` is when reading was probed (ISO 8601). `cache_bytes_per_s` is None where it was not probed, or
    the system tells of no caches.
    """

    threads: int
    read_bytes_per_s: float
    flops: Mapping[str, float]
    taken: str = ""
    other_levels: tuple[float, ...] = ()
    cache_bytes_per_s: float | None = None


def ceilings(threads: int, *, fresh: bool = False) -> Ceilings:
    """Return the ceilings of `threads` threads, from the cache file unless `fresh`; new ones take three seconds."""
    figures = ("read", "cache") if cache_bytes(threads) else ("read",)
    reads = {} if fresh else {name: figure for name in figures if (figure := _known(name, threads))}
    probes = {name: [_probe(name, threads)] for name in figures if name not in reads}
    flops = {}
    for type in _native.DataType:
        flops[type.name] = _peak(type, threads, fresh)
        for name, found in probes.items():  # again, some time later
            found.append(_probe(name, threads))
    reads |= {name: _keep(name, threads, *distinct_levels(found)) for name, found in probes.items()}
    return _ceilings(threads, flops, reads["read"], reads.get("cache"))


def known_ceilings(threads: int) -> Ceilings | None:
    """Return the ceilings of `threads` threads if all of them are in the cache file."""
    read = _known("read", threads)
    flops = {type.name: _known(type.name, threads) for type in _native.DataType}
    if read is None or None in flops.values():
        return None
    peaks = {name: figure.per_s for name, figure in flops.items() if figure}
    return _ceilings(threads, peaks, read, _known("cache", threads))


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


def cache_bytes(threads: int, root: Path = Path("/")) -> int:
    """Return what the last caches hold that so many threads read through, each its own at best; 0 for unknown."""
    return sum(last_caches(root)[:threads])


def last_cache_bytes(root: Path = Path("/")) -> int:
    """Return the size of the processor's last caches together, 0 where the system does not say."""
    return sum(last_caches(root))


def last_caches(root: Path = Path("/")) -> list[int]:
    """Return the sizes of the processor's last caches, the largest first; none where the system does not say.

    A model that is smaller is read from there, faster than memory. Source: Linux Documentation/ABI, sysfs-devices-
    system-cpu.
    """
    caches: dict[str, tuple[int, int]] = {}
    for index in root.glob("sys/devices/system/cpu/cpu[0-9]*/cache/index[0-9]*"):
        try:
            level = int((index / "level").read_text())
            n_bytes = _size((index / "size").read_text().strip())
            caches[f"{level}: {(index / 'shared_cpu_list').read_text().strip()}"] = level, n_bytes
        except (OSError, ValueError):
            continue
    last = max((level for level, _ in caches.values()), default=0)
    return sorted((n_bytes for level, n_bytes in caches.values() if level == last), reverse=True)


def instruction_level() -> str:
    """Return the level of the kernels in use, as `CpuOps.isa` names it.

    Raises: RequestError when NEARLIGHT_ISA names instructions this processor lacks.
    """
    try:
        return _native.isa()
    except ValueError as error:
        raise RequestError(str(error)) from None


def cache_file() -> Path:
    """Return where measurements are kept: nearlight/probe.json below $XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "nearlight" / "probe.json"


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name as it tells it itself, else the kind of machine."""
    for field, value in _fields(cpuinfo):
        if field == "model name":
            return value
    return platform.processor() or platform.machine()


def _peak(type: _native.DataType, threads: int, fresh: bool) -> float:
    known = _known(type.name, threads)
    if known and not fresh:
        return known.per_s
    measured = _native.probe_peak(type, threads, PEAK_SECONDS)
    return _keep(type.name, threads, max(measured, known.per_s if known else 0.0)).per_s


def _read(name: str, threads: int, fresh: bool) -> float:
    known = None if fresh else _known(name, threads)
    return (known or _keep(name, threads, _probe(name, threads))).per_s


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


def _known(figure: str, threads: int) -> Figure | None:
    """Return what the cache file says."""
    return _load(cache_file()).get(_key(figure, threads))


def _keep(figure: str, threads: int, per_s: float, *others: float) -> Figure:
    """Write a measurement into the cache file."""
    path = cache_file()
    kept = Figure(per_s, datetime.now(UTC).isoformat(timespec="seconds"), others)
    _save(path, _load(path) | {_key(figure, threads): kept})
    return kept


def _key(figure: str, threads: int) -> str:
    machine = f"{platform.node()}: {processor_name()} x {os.cpu_count()}"
    return f"{machine}, {_native.isa()}, {threads} threads, {figure}"


def _load(path: Path) -> dict[str, Figure]:
    try:
        known = json.loads(path.read_text())
        return {str(key): _figure(value) for key, value in known.items() if float(value["per_s"]) > 0}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return {}  # missing, cut off or not ours: measure again


def _figure(value: dict[str, Any]) -> Figure:
    return Figure(float(value["per_s"]), str(value["taken"]), tuple(float(other) for other in value["others"]))


def _save(path: Path, known: Mapping[str, Figure]) -> None:
    """Replace the file in one step; where the directory cannot be written, measure again next time."""
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps({key: asdict(figure) for key, figure in known.items()}, indent=1))
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()


def _fields(path: Path) -> Iterable[tuple[str, str]]:
    """Read a file of `name: value` lines; one that cannot be read has none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    return [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def _size(text: str) -> int:
    """Read a size like "32768K"."""
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
    return int(text.rstrip("KMG")) * factor
