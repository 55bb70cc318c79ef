"""The measured ceilings: sane, and measured once per machine, instruction level and number of threads."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nearlight import _native
from nearlight.machine import figures, probe, processor


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Figures that the next measurements give, on a processor that tells of no caches."""
    figures: list[float] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_native, "probe_read", lambda n_bytes, n_threads, seconds: figures.pop(0) * n_threads)
    monkeypatch.setattr(processor, "last_caches", lambda root: [])
    monkeypatch.setattr(_native, "probe_peak", lambda type, n_threads, seconds: figures.pop(0) * n_threads)
    return figures


def kept() -> list[float]:
    return [figure["per_s"] for figure in json.loads(figures.figures_file().read_text()).values()]


# A loop that the compiler removed would seem to read or multiply so fast: 10,000 times as fast as any processor.
IMPOSSIBLE = 1e16


def test_reading_takes_time() -> None:
    assert 0 < _native.probe_read(32 << 20, 2, 0.01) < IMPOSSIBLE


@pytest.mark.parametrize("type", _native.DataType)
def test_multiplying_takes_time(type: _native.DataType) -> None:
    assert 0 < _native.probe_peak(type, 1, 0.01) < IMPOSSIBLE


@pytest.mark.parametrize(("n_bytes", "n_threads"), [(0, 1), (1 << 20, 0), (1 << 20, -1)])
def test_senseless_probes_are_refused(n_bytes: int, n_threads: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        _native.probe_read(n_bytes, n_threads, 0.01)


def test_peaks_of_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 thread"):
        _native.probe_peak(_native.DataType.int8, 0, 0.01)


def test_a_machine_is_measured_once(measured: list[float]) -> None:
    measured += [3e9, 4e9]
    assert [probe.read_bytes_per_s(1), probe.read_bytes_per_s(1)] == [3e9, 3e9]
    assert [probe.read_bytes_per_s(2), probe.read_bytes_per_s(2)] == [8e9, 8e9]
    assert sorted(kept()) == [3e9, 8e9]


def test_a_fresh_bandwidth_is_that_of_the_present_state(measured: list[float]) -> None:
    measured += [3e9, 2e9, 5e9]
    assert [probe.read_bytes_per_s(1, fresh=True) for _ in range(3)] == [3e9, 2e9, 5e9]
    assert probe.read_bytes_per_s(1) == 5e9


def test_a_fresh_peak_replaces_a_lower_one_only(measured: list[float]) -> None:
    for peak in (3e12, 2e12, 5e12):
        measured += [1e9, *4 * [peak, 1e9]]
    assert [probe.ceilings(1, fresh=True).flops["int8"] for _ in range(3)] == [3e12, 3e12, 5e12]


def test_ceilings_are_kept_by_figure_and_threads(measured: list[float]) -> None:
    measured += [5e9, 1e12, 5e9, 2e12, 5e9, 2.5e12, 5e9, 3e12, 5e9]
    measured += [4e9, 7e12, 4e9, 8e12, 4e9, 8.5e12, 4e9, 9e12, 4e9]
    assert probe.known_ceilings(2) is None
    two, one = probe.ceilings(2), probe.ceilings(1)
    assert (two.read_bytes_per_s, two.flops) == (10e9, {"fp32": 2e12, "bf16": 4e12, "int16": 5e12, "int8": 6e12})
    assert (one.read_bytes_per_s, one.flops) == (4e9, {"fp32": 7e12, "bf16": 8e12, "int16": 8.5e12, "int8": 9e12})
    assert [probe.ceilings(2), probe.ceilings(1)] == [two, one]
    assert [probe.known_ceilings(2), probe.known_ceilings(1)] == [two, one]
    assert datetime.fromisoformat(two.taken) <= datetime.now(UTC)


def test_the_state_that_held_is_the_bandwidth_and_the_other_is_told(measured: list[float]) -> None:
    measured += [36e9, 1e12, 63e9, 1e12, 62e9, 1e12, 62e9, 1e12, 64e9]
    assert (probe.ceilings(1).read_bytes_per_s, probe.ceilings(1).other_states) == (64e9, ())
    measured += [36e9, 1e12, 63e9, 1e12, 62e9, 1e12, 62e9, 1e12, 35e9]
    again = probe.ceilings(1, fresh=True)
    assert (again.read_bytes_per_s, again.other_states) == (63e9, (36e9,))
    assert probe.known_ceilings(1) == again


def test_a_glance_is_not_kept(measured: list[float]) -> None:
    measured += [3e9, 4e9]
    assert [probe.read_now(1), probe.read_bytes_per_s(1)] == [3e9, 4e9]


@pytest.fixture
def read_buffers(measured: list[float], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the buffers that were read, in MiB, on a processor with last caches of 40 and 24 MiB."""
    sizes: list[int] = []

    def read(n_bytes: int, n_threads: int, seconds: float) -> float:
        sizes.append(n_bytes >> 20)
        return 60e9 if n_bytes <= 32 << 20 else 20e9

    monkeypatch.setattr(processor, "last_caches", lambda root: [40 << 20, 24 << 20])
    monkeypatch.setattr(_native, "probe_read", read)
    return sizes


def test_caches_are_read_in_half_of_their_size(read_buffers: list[int]) -> None:
    assert [probe.cache_bytes_per_s(1), probe.cache_bytes_per_s(2), probe.cache_bytes_per_s(1)] == [60e9] * 3
    assert read_buffers == [20, 32]
    assert kept() == [60e9, 60e9]


def test_glances_read_what_they_are_asked_for(read_buffers: list[int]) -> None:
    assert [probe.read_now(2), probe.read_now(2, "cache"), probe.read_now(1, "cache")] == [20e9, 60e9, 60e9]
    assert read_buffers == [4 * 64, 32, 20]
    assert not figures.figures_file().exists()


def test_the_cache_is_a_ceiling_like_the_others(read_buffers: list[int], measured: list[float]) -> None:
    measured += [1e12, 2e12, 2.5e12, 3e12]
    found = probe.ceilings(2)
    assert (found.read_bytes_per_s, found.cache_bytes_per_s) == (20e9, 60e9)
    assert read_buffers == [256, 32] * 5  # in turns, some time apart
    assert probe.ceilings(2) == probe.known_ceilings(2) == found
    assert len(read_buffers) == 10


def test_files_from_before_caches_were_probed_are_completed(
    read_buffers: list[int], measured: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "last_caches", lambda root: [])
    measured += [1e12, 2e12, 2.5e12, 3e12]
    assert probe.ceilings(1).cache_bytes_per_s is None
    read_buffers.clear()
    monkeypatch.setattr(processor, "last_caches", lambda root: [64 << 20])
    assert probe.ceilings(1).cache_bytes_per_s == 60e9
    assert read_buffers == [32] * 5


def test_another_instruction_level_is_measured_anew(measured: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    measured += [3e9, 4e9]
    probe.read_bytes_per_s(1)
    monkeypatch.setattr(_native, "isa", lambda: "another")
    assert probe.read_bytes_per_s(1) == 4e9


def test_progress_counts_the_numbers_of_threads(measured: list[float]) -> None:
    measured += [1e9] * 27
    told: list[tuple[int, int]] = []
    found = probe.ceilings_by_threads(3, progress=lambda done, total: told.append((done, total)))
    assert [ceilings.threads for ceilings in found] == [1, 2, 3]
    assert told == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("most", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (6, [1, 2, 3, 4, 6]), (16, [1, 2, 3, 4, 8, 16])]
)
def test_few_numbers_of_threads_are_measured(most: int, expected: list[int]) -> None:
    assert probe.thread_counts(most) == expected


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"x": "y"}', '{"x": 3e9}', '{"x": {"per_s": 1}}', "\x00"])
def test_a_damaged_file_is_replaced(measured: list[float], text: str) -> None:
    measured += [3e9]
    figures.figures_file().parent.mkdir(parents=True)
    figures.figures_file().write_text(text)
    assert probe.read_bytes_per_s(1) == 3e9
    assert kept() == [3e9]


def test_without_a_place_to_write_it_is_measured_again(measured: list[float], tmp_path: Path) -> None:
    measured += [3e9, 4e9]
    (tmp_path / "nearlight").write_text("a file where the directory should be")
    assert [probe.read_bytes_per_s(1), probe.read_bytes_per_s(1)] == [3e9, 4e9]
