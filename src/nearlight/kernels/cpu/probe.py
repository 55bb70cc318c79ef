"""How fast this machine reads memory: the limit that the closing line and plans measure against.

Measured once per machine and number of threads, then kept as JSON in the user's cache directory, so that a run does
not pay for it. The buffer is larger than most last-level caches; where one is larger still, the figure is the cache's.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from pathlib import Path

from nearlight import _native

BUFFER_BYTES = 256 << 20


def read_bytes_per_s(threads: int, *, fresh: bool = False) -> float:
    """Return the read bandwidth of `threads` threads, from the cache file unless `fresh`.

    A disturbed measurement is too low, never too high, so a fresh one only replaces a lower one.
    """
    path = cache_file()
    known = _load(path)
    key = f"{platform.node()}: {processor_name()} x {os.cpu_count()}, {threads} threads"
    if fresh or key not in known:
        known[key] = max(_native.probe_read(BUFFER_BYTES, threads), known.get(key, 0.0))
        _save(path, known)
    return known[key]


def cache_file() -> Path:
    """Return where measurements are kept: nearlight/probe.json below $XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "nearlight" / "probe.json"


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name as it tells it itself, else the kind of machine."""
    try:
        for line in cpuinfo.read_text().splitlines():
            field, _, value = line.partition(":")
            if field.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _load(path: Path) -> dict[str, float]:
    try:
        known = json.loads(path.read_text())
        return {str(key): float(value) for key, value in known.items() if float(value) > 0}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # missing, cut off or not ours: measure again


def _save(path: Path, known: dict[str, float]) -> None:
    """Replace the file in one step; where the directory cannot be written, measure again next time."""
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(known, indent=1))
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
