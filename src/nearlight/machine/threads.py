"""How many threads to compute with: the physical cores this process may use.

Two hyper-threads of a core share its multipliers, so a second one only adds waiting; and a container that may use two
processors' time is stopped for the rest of each period when it runs on more. Hence: the processors in the process's
affinity mask, hyper-threads counted once, and no more than the cgroup's quota.

Source: Linux Documentation/admin-guide/cputopology.rst, cgroup-v2.rst ("cpu.max"), scheduler/sched-bwc.rst.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from nearlight.machine.cgroup import groups, text_of


def default_threads(root: Path = Path("/")) -> int:
    """Count the physical cores this process may use, at least 1.

    `root` is where /proc and /sys are looked for.
    """
    cores = physical_cores(processors(), root)
    quota = cpu_quota(root)
    return max(1, cores if quota is None else min(cores, int(quota)))


def physical_cores(cpus: Iterable[int], root: Path = Path("/")) -> int:
    """Count the cores that these processors belong to; one of unknown core counts by itself."""
    cores = set()
    for cpu in cpus:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        core = text_of(topology / "core_id")
        package = text_of(topology / "physical_package_id")
        cores.add((package, core) if core else ("", f"cpu{cpu}"))
    return len(cores)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return how many processors' time the cgroups allow, None if they set no limit.

    A limit of any group on the way up binds, so the least counts.
    """
    limits = [limit for limit in _cgroup_limits(root) if limit > 0]
    return min(limits, default=None)


def processors() -> Collection[int]:
    """Return the processors this process may use, hyper-threads included."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _cgroup_limits(root: Path) -> Iterator[float]:
    for version, directory in groups(root, "cpu"):
        if version == 2:
            quota, _, period = text_of(directory / "cpu.max").partition(" ")
        else:
            quota, period = text_of(directory / "cpu.cfs_quota_us"), text_of(directory / "cpu.cfs_period_us")
        yield _ratio(quota, period)


def _ratio(quota: str, period: str) -> float:
    """Return quota / period; 0 for no limit ("max", -1) and for what cannot be read."""
    try:
        return int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return 0.0
