"""What memory is left, on machines made of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearlight.machine.memory import AvailableMemory, available_memory, total_memory

MB = 1 << 20


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine of 1000 MB, 700 of which are free."""
    write(tmp_path / "proc/meminfo", f"MemTotal:  {1000 * 1024} kB\nMemFree:   9 kB\nMemAvailable: {700 * 1024} kB\n")
    return tmp_path


def test_the_machine_has_what_is_not_in_use(machine: Path) -> None:
    assert available_memory(machine) == AvailableMemory(700 * MB, 1000 * MB, "this machine")


def test_a_container_may_have_less(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/user/app")
    group = machine / "sys/fs/cgroup/user/app"
    write(group / "memory.max", "max")
    write(machine / "sys/fs/cgroup/user/memory.max", str(400 * MB))
    write(machine / "sys/fs/cgroup/user/memory.current", str(150 * MB))
    assert available_memory(machine) == AvailableMemory(250 * MB, 400 * MB, "this container")
    write(machine / "sys/fs/cgroup/user/memory.stat", f"anon 7\ninactive_file {30 * MB}\n")
    assert available_memory(machine).left == 280 * MB


def test_version_1_tells_the_same_in_other_files(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "4:memory:/as/the/host/sees/it\n3:cpu:/x")
    group = machine / "sys/fs/cgroup/memory"
    write(group / "memory.limit_in_bytes", str(500 * MB))
    write(group / "memory.usage_in_bytes", str(480 * MB))
    write(group / "memory.stat", f"inactive_file 1\ntotal_inactive_file {50 * MB}\n")
    assert available_memory(machine) == AvailableMemory(70 * MB, 500 * MB, "this container")
    write(group / "memory.limit_in_bytes", str((1 << 63) - 4096))
    assert available_memory(machine).owner == "this machine"


def test_a_roomy_container_on_a_full_machine_has_what_the_machine_has(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/")
    write(machine / "sys/fs/cgroup/memory.max", str(900 * MB))
    write(machine / "sys/fs/cgroup/memory.current", str(50 * MB))
    assert available_memory(machine).owner == "this machine"


def test_a_system_that_tells_nothing_is_asked_otherwise(tmp_path: Path) -> None:
    assert available_memory(tmp_path).left == total_memory(tmp_path) > 1 << 20


@pytest.mark.parametrize("text", ["", "max", "nonsense", "-1"])
def test_what_cannot_be_read_is_no_limit(machine: Path, text: str) -> None:
    write(machine / "proc/self/cgroup", "0::/app")
    write(machine / "sys/fs/cgroup/app/memory.max", text)
    write(machine / "sys/fs/cgroup/app/memory.stat", "odd")
    assert available_memory(machine).owner == "this machine"
