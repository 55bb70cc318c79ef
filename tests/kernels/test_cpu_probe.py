"""The measured read bandwidth: sane, and measured once."""

import json
from pathlib import Path

import pytest

from nearlight import _native
from nearlight.kernels.cpu import probe


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Figures that the next measurements give."""
    figures: list[float] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_native, "probe_read", lambda n_bytes, n_threads: figures.pop(0) * n_threads)
    return figures


def test_reading_takes_a_believable_time() -> None:
    assert 1e8 < _native.probe_read(32 << 20, 2) < 1e13


def test_a_machine_is_measured_once(measured: list[float]) -> None:
    measured += [3e9, 4e9]
    assert [probe.read_bytes_per_s(1), probe.read_bytes_per_s(1)] == [3e9, 3e9]
    assert [probe.read_bytes_per_s(2), probe.read_bytes_per_s(2)] == [8e9, 8e9]
    assert sorted(json.loads(probe.cache_file().read_text()).values()) == [3e9, 8e9]


def test_a_fresh_measurement_replaces_a_lower_one_only(measured: list[float]) -> None:
    measured += [3e9, 2e9, 5e9]
    assert [probe.read_bytes_per_s(1, fresh=True) for _ in range(3)] == [3e9, 3e9, 5e9]


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"x": "y"}', '{"x": null}', "\x00"])
def test_a_damaged_file_is_replaced(measured: list[float], text: str) -> None:
    measured += [3e9]
    probe.cache_file().parent.mkdir(parents=True)
    probe.cache_file().write_text(text)
    assert probe.read_bytes_per_s(1) == 3e9
    assert list(json.loads(probe.cache_file().read_text()).values()) == [3e9]


def test_without_a_place_to_write_it_is_measured_again(measured: list[float], tmp_path: Path) -> None:
    measured += [3e9, 4e9]
    (tmp_path / "nearlight").write_text("a file where the directory should be")
    assert [probe.read_bytes_per_s(1), probe.read_bytes_per_s(1)] == [3e9, 4e9]


def test_processor_name_is_read_where_it_is_told(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast One 9000\nflags\t: a b\n")
    assert probe.processor_name(cpuinfo) == "Fast One 9000"
    assert probe.processor_name(tmp_path / "missing")
