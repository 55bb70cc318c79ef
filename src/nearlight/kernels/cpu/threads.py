"""How many threads to compute with: the physical cores this process may use.

Two hyper-threads of a core share its multipliers, so a second one only adds waiting; and a container that may use two
processors' time is stopped for the rest of each period when it runs on more. Hence: the processors in the process's
affinity mask, hyper-threads counted once, and no more than the cgroup's quota.

Source: Linux Documentation/admin-guide/cputopology.rst, cgroup-v2.rst ("cpu.max"), scheduler/sched-bwc.rst.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def default_threads(root: Path = Path("/")) -> int:
    """Count the physical cores this process may use, at least 1.

    `root` is where /proc and /sys are looked for.
    """
    cores = physical_cores(_allowed_cpus(), root)
    quota = cpu_quota(root)
    return max(1, cores if quota is None else min(cores, int(quota)))


def physical_cores(cpus: Iterable[int], root: Path = Path("/")) -> int:
    """Count the cores that these processors belong to; one of unknown core counts by itself."""
    cores = set()
    for cpu in cpus:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        core = _text(topology / "core_id")
        package = _text(topology / "physical_package_id")
        cores.add((package, core) if core else ("", f"cpu{cpu}"))
    return len(cores)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return how many processors' time the cgroups allow, None if they set no limit.

    A limit of any group on the way up binds, so the least counts.
    """
    limits = [limit for limit in _cgroup_limits(root) if limit > 0]
    return min(limits, default=None)


def _allowed_cpus() -> Iterable[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _cgroup_limits(root: Path) -> Iterator[float]:
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            for directory in _upwards(root / "sys/fs/cgroup", group):
                quota, _, period = _text(directory / "cpu.max").partition(" ")
                yield _ratio(quota, period)
        elif "cpu" in controllers.split(","):
            for mount in (controllers, "cpu"):
                for directory in _upwards(root / "sys/fs/cgroup" / mount, group):
                    yield _ratio(_text(directory / "cpu.cfs_quota_us"), _text(directory / "cpu.cfs_period_us"))


def _upwards(mount: Path, group: str) -> Iterator[Path]:
    """Yield a group's directory and those above it. In a container the group may be named as the host sees it, and
    only the mount itself exist."""
    directory = mount / group.strip("/")
    while directory != mount and mount in directory.parents:
        yield directory
        directory = directory.parent
    yield mount


def _ratio(quota: str, period: str) -> float:
    """Return quota / period; 0 for no limit ("max", -1) and for what cannot be read."""
    try:
        return int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
