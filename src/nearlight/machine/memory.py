"""How much memory this process may use, and how much of it is left.

The system tells what it could give without swapping; a container may be allowed less than that, and its groups tell
what they use already. Pages of files that were not used for a while are no obstacle: the system takes them back.

Source: proc(5) (MemTotal, MemAvailable); Linux Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nearlight.machine.cgroup import groups, text_of

_FILES = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}
_IDLE_FILE_PAGES = ("total_inactive_file", "inactive_file")


@dataclass(frozen=True)
class AvailableMemory:
    """Units: bytes that are left, of how many. `owner` says whose they are: "this machine" or "this container"."""

    left: int
    total: int
    owner: str


def total_memory(root: Path = Path("/")) -> int:
    """Return this machine's memory. Units: bytes."""
    return _meminfo(root).get("MemTotal") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_memory(root: Path = Path("/")) -> AvailableMemory:
    """Say what is left for a model: of the machine, or of a container that has less. `root` is where /proc and /sys
    are looked for."""
    total = total_memory(root)
    machine = AvailableMemory(_meminfo(root).get("MemAvailable", total), total, "this machine")
    return min([machine, *_containers(root, total)], key=lambda memory: memory.left)


def _containers(root: Path, total: int) -> Iterator[AvailableMemory]:
    for version, directory in groups(root, "memory"):
        limit, used = (_number(text_of(directory / name)) for name in _FILES[version])
        if limit is not None and limit < total:  # version 1 writes a huge number for none
            yield AvailableMemory(max(limit - (used or 0) + _reclaimable(directory), 0), limit, "this container")


def _reclaimable(directory: Path) -> int:
    """Return the bytes of idle file pages, which a group's use includes."""
    fields = dict(line.split()[:2] for line in text_of(directory / "memory.stat").splitlines() if len(line.split()) > 1)
    return next((int(fields[name]) for name in _IDLE_FILE_PAGES if fields.get(name, "").isdigit()), 0)


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _meminfo(root: Path) -> dict[str, int]:
    """Read the sizes that /proc/meminfo tells, in bytes."""
    lines = (line.partition(":") for line in text_of(root / "proc/meminfo").splitlines())
    sizes = {name: value.split() for name, _, value in lines}
    return {name: int(size[0]) * 1024 for name, size in sizes.items() if size and size[0].isdigit()}
