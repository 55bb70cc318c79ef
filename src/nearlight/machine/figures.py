"""Measured figures, kept as JSON in the user's cache directory with the time they were taken.

A figure is of one machine, instruction level and number of threads. What cannot be read or written is no error: then
it is measured again.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nearlight.machine.processor import instruction_level, processor_name


@dataclass(frozen=True)
class Figure:
    """A measured ceiling, when it was measured (ISO 8601), and the other states that were seen then."""

    per_s: float
    taken: str
    others: tuple[float, ...] = ()


def figures_file() -> Path:
    """Return where figures are kept: nearlight/probe.json below $XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "nearlight" / "probe.json"


def known_figure(name: str, threads: int) -> Figure | None:
    """Return a figure of this machine for so many threads, None where none is kept."""
    return _load(figures_file()).get(_key(name, threads))


def keep_figure(name: str, threads: int, per_s: float, *others: float) -> Figure:
    """Keep a figure that was measured just now."""
    path = figures_file()
    kept = Figure(per_s, datetime.now(UTC).isoformat(timespec="seconds"), others)
    _save(path, _load(path) | {_key(name, threads): kept})
    return kept


def _key(name: str, threads: int) -> str:
    machine = f"{platform.node()}: {processor_name()} x {os.cpu_count()}"
    return f"{machine}, {instruction_level()}, {threads} threads, {name}"


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
