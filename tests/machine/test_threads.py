"""The default number of threads, on machines made of files."""

from pathlib import Path

import pytest

from nearlight.machine import threads
from nearlight.machine.threads import cpu_quota, default_threads, physical_cores


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def add_cpu(root: Path, cpu: int, package: int, core: int) -> None:
    topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    write(topology / "core_id", str(core))
    write(topology / "physical_package_id", str(package))


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two sockets of three cores with two hyper-threads each: cpu n and n + 6 are one core."""
    for cpu in range(12):
        add_cpu(tmp_path, cpu, package=cpu % 6 // 3, core=cpu % 3)
    return tmp_path


def test_hyper_threads_count_once(machine: Path) -> None:
    assert physical_cores(range(12), machine) == 6
    assert physical_cores({0, 6}, machine) == 1
    assert physical_cores({0, 1, 6, 9}, machine) == 3


def test_cpus_of_unknown_core_count_by_themselves(tmp_path: Path) -> None:
    assert physical_cores(range(5), tmp_path) == 5


@pytest.mark.parametrize(("limit", "expected"), [("max 100000", None), ("250000 100000", 2.5), ("nonsense", None)])
def test_version_2_quota(tmp_path: Path, limit: str, expected: float | None) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/user/app")
    write(tmp_path / "sys/fs/cgroup/user/app/cpu.max", limit)
    assert cpu_quota(tmp_path) == expected


def test_the_least_limit_on_the_way_up_binds(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/user/app")
    write(tmp_path / "sys/fs/cgroup/user/app/cpu.max", "max 100000")
    write(tmp_path / "sys/fs/cgroup/user/cpu.max", "300000 100000")
    write(tmp_path / "sys/fs/cgroup/cpu.max", "400000 100000")
    assert cpu_quota(tmp_path) == 3


@pytest.mark.parametrize(("quota", "expected"), [("-1", None), ("150000", 1.5)])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_version_1_quota(tmp_path: Path, mount: str, quota: str, expected: float | None) -> None:
    write(tmp_path / "proc/self/cgroup", "9:memory:/x\n4:cpu,cpuacct:/as/the/host/sees/it\n0::/")
    write(tmp_path / f"sys/fs/cgroup/{mount}/cpu.cfs_quota_us", quota)
    write(tmp_path / f"sys/fs/cgroup/{mount}/cpu.cfs_period_us", "100000")
    assert cpu_quota(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("max", 3), ("250000", 2), ("40000", 1), ("900000", 3)])
def test_default_is_cores_within_the_quota(
    machine: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
) -> None:
    monkeypatch.setattr(threads, "processors", lambda: {0, 1, 6, 7, 4})
    write(machine / "proc/self/cgroup", "0::/")
    write(machine / "sys/fs/cgroup/cpu.max", f"{quota} 100000")
    assert default_threads(machine) == expected


def test_a_machine_that_tells_nothing_still_has_a_thread(tmp_path: Path) -> None:
    assert default_threads(tmp_path) >= 1
