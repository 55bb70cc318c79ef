"""What the processor says of itself: its name, its last caches, and the level of instructions that the kernels use.

Source: proc(5) (cpuinfo); Linux Documentation/ABI, sysfs-devices-system-cpu.
"""

from __future__ import annotations

import platform
from pathlib import Path

from nearlight import _native
from nearlight.errors import RequestError
from nearlight.machine.cgroup import text_of


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name as it tells it itself, else the kind of machine."""
    for line in text_of(cpuinfo).splitlines():
        field, _, value = line.partition(":")
        if field.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def instruction_level() -> str:
    """Return the level of the kernels in use, as `CpuOps.isa` names it.

    Raises: RequestError when NEARLIGHT_ISA names instructions this processor lacks.
    """
    try:
        return _native.isa()
    except ValueError as error:
        raise RequestError(str(error)) from None


def cache_bytes(threads: int, root: Path = Path("/")) -> int:
    """Return what the last caches hold that so many threads read through, each its own at best; 0 for unknown."""
    return sum(last_caches(root)[:threads])


def last_cache_bytes(root: Path = Path("/")) -> int:
    """Return the size of the processor's last caches together, 0 where the system does not say."""
    return sum(last_caches(root))


def last_caches(root: Path = Path("/")) -> list[int]:
    """Return the sizes of the processor's last caches, the largest first; none where the system does not say.

    A model that is smaller is read from there, faster than memory.
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


def _size(text: str) -> int:
    """Read a size like "32768K"."""
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
    return int(text.rstrip("KMG")) * factor
