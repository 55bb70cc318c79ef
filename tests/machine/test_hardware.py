"""The limit of a run: what was probed long ago, or beside it. All probes are scripted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from nearlight.cli.summary import closing_line
from nearlight.engine.completion import Completion, Timing
from nearlight.limits.cache import Cache
from nearlight.limits.run import RunLimit
from nearlight.machine import hardware, probe
from nearlight.machine.hardware import limit_beside, limit_here, this_machine
from tests.limits.machines import LinearCosts

COSTS = LinearCosts(weight_bytes=20e6, kv_token_bytes=0)
IN_MEMORY = RunLimit(COSTS, 40e9, cache=Cache(2e6, 90e9))
IN_CACHE = RunLimit(COSTS, 40e9, cache=Cache(32e6, 80e9))
CONTEXT = 100.0


def scripted(figures: Iterable[float]) -> tuple[Callable[[str], float], list[str]]:
    """Return a glance that sees these figures, and the list of what it was asked for."""
    left, asked = iter(figures), []

    def glance(source: str) -> float:
        asked.append(source)
        return next(left)

    return glance, asked


def test_one_glance_that_agrees_is_enough() -> None:
    glance, asked = scripted([41e9])
    assert limit_beside(IN_MEMORY, 1000, CONTEXT, glance) is IN_MEMORY
    assert asked == ["memory"]


def test_a_disturbed_glance_is_repeated() -> None:
    glance, asked = scripted([20e9, 39e9])
    assert limit_beside(IN_MEMORY, 1000, CONTEXT, glance) is IN_MEMORY
    assert len(asked) == 2


@pytest.mark.parametrize(("seen", "counts"), [([28e9, 30e9], 30e9), ([30e9, 28e9], 30e9), ([55e9, 60e9], 60e9)])
def test_another_state_is_what_the_run_is_held_against(seen: list[float], counts: float) -> None:
    limit = limit_beside(IN_MEMORY, 1000, CONTEXT, scripted(seen)[0])  # the run read 20 GB/s
    assert limit == replace(IN_MEMORY, read_bytes_per_s=counts, beside=True)


def test_a_glance_that_the_run_outran_was_of_another_moment() -> None:
    # The run read 36 GB/s: what allowed that was memory as it is on file, not what came after.
    assert limit_beside(IN_MEMORY, 1800, CONTEXT, scripted([20e9, 20e9])[0]) is IN_MEMORY
    # It read 60 GB/s, and neither figure allows that: the higher is nearer to what there was.
    assert limit_beside(IN_MEMORY, 3000, CONTEXT, scripted([50e9, 50e9])[0]).read_bytes_per_s == 50e9
    assert limit_beside(IN_MEMORY, 3000, CONTEXT, scripted([30e9, 30e9])[0]) is IN_MEMORY


def test_a_model_in_the_cache_is_held_against_the_cache_and_nothing_else() -> None:
    glance, asked = scripted([100e9, 120e9])
    limit = limit_beside(IN_CACHE, 1800, CONTEXT, glance)
    assert asked == ["cache", "cache"]
    assert (limit.bytes_per_s(CONTEXT), limit.read_bytes_per_s) == (120e9, 40e9)


def test_a_cache_has_no_slower_state() -> None:
    assert limit_beside(IN_CACHE, 1800, CONTEXT, scripted([60e9, 40e9])[0]) is IN_CACHE


def test_glances_that_had_no_processor_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limit_beside(IN_MEMORY, 100, CONTEXT, scripted([0.0, 0.0])[0]) is IN_MEMORY
    assert limit_beside(IN_MEMORY, 100, CONTEXT, scripted([0.0, 30e9])[0]).read_bytes_per_s == 30e9
    monkeypatch.setattr(probe, "read_now", lambda threads, source: threads * 7e9)
    monkeypatch.setattr(hardware, "perf_counter", iter([1.0, 1.1] * 2).__next__)
    monkeypatch.setattr(hardware, "process_time", iter([5.0, 5.1, 5.0, 5.05]).__next__)
    assert [hardware.glance(2, "memory"), hardware.glance(2, "memory")] == [14e9, 0.0]


def test_a_file_that_is_too_low_is_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def read(threads: int, fresh: bool) -> float:
        asked.append(fresh)
        return 40e9

    monkeypatch.setattr(hardware, "cache_bytes", lambda threads: 0)
    monkeypatch.setattr(probe, "read_bytes_per_s", read)
    monkeypatch.setattr(probe, "known_ceilings", lambda threads: None)
    for seen, expected in ((41e9, [False]), (30e9, [False]), (60e9, [False, True])):
        monkeypatch.setattr(hardware, "glance", lambda threads, source, seen=seen: seen)
        asked.clear()
        hardware.limit_after(COSTS, 2, 1000, CONTEXT)
        assert asked == expected


def answer(speed: float) -> Completion:
    timing = Timing(ttft_s=0.03, decode_s=60 / speed, decode_steps=60)
    return Completion(token_ids=list(range(61)), finish_reason="stop", prompt_tokens=4, timing=timing)


def share_told(limit: RunLimit, speed: float) -> tuple[int, str]:
    """Return the percentage of a closing line, and of whose limit it is."""
    share, _, whose = closing_line(answer(speed), limit).rpartition(" · ")[2].partition(" % of ")
    return int(share), whose


def test_ten_times_the_same_command_tells_the_same_kind_of_share() -> None:
    # Speeds as they vary on a shared host, by a tenth; probes disturbed now and then, and by as much; memory flips
    # between two levels meanwhile, which is nothing to a model in the cache.
    speeds = [1500, 1560, 1440, 1620, 1500, 1380, 1590, 1410, 1500, 1530]
    glances = [[80e9], [79e9], [41e9, 78e9], [81e9], [83e9], [60e9, 80e9], [77e9], [0, 0], [82e9], [30e9, 50e9]]
    memory = [40e9, 22e9] * 5
    told = []
    for speed, seen, now in zip(speeds, glances, memory, strict=True):
        on_file = replace(IN_CACHE, read_bytes_per_s=now)
        told.append(share_told(limit_beside(on_file, speed, CONTEXT, scripted(seen)[0]), speed))
    assert {whose for _, whose in told} == {"what this processor's cache allows"}
    # 20 MB at 1500 tokens a second are 30 GB/s, of 80 GB/s.
    assert [share for share, _ in told] == [round(100 * speed * 20e6 / 80e9) for speed in speeds]


def test_ten_times_beside_a_memory_that_moves() -> None:
    # The engine reaches three quarters of whatever memory gives; the figure on file is that of the upper level.
    told = []
    for level in [40e9, 25e9] * 5:
        speed = 0.75 * level / 20e6
        told.append(share_told(limit_beside(IN_MEMORY, speed, CONTEXT, scripted([level, level])[0]), speed))
    assert told == [(75, "this machine's limit"), (75, "this machine's limit (probed just now)")] * 5


def test_this_machine_is_what_was_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cache_bytes", lambda threads: 8_000_000 * threads)
    monkeypatch.setattr(probe, "cache_bytes_per_s", lambda threads, fresh: 70e9 if fresh else 80e9)
    monkeypatch.setattr(probe, "read_bytes_per_s", lambda threads, fresh: 30e9 if fresh else 40e9)
    monkeypatch.setattr(probe, "known_ceilings", lambda threads: None)
    assert limit_here(COSTS, 2) == RunLimit(COSTS, 40e9, cache=Cache(16e6, 80e9))
    assert limit_here(COSTS, 3, fresh=True) == RunLimit(COSTS, 30e9, cache=Cache(24e6, 70e9))
    found = probe.Ceilings(2, 40e9, {"fp32": 1e9}, cache_bytes_per_s=80e9)
    monkeypatch.setattr(probe, "ceilings", lambda threads: found)
    assert this_machine(2).cache == Cache(16e6, 80e9)
    monkeypatch.setattr(probe, "ceilings", lambda threads: replace(found, cache_bytes_per_s=None))
    monkeypatch.setattr(hardware, "cache_bytes", lambda threads: 0)  # as where the system tells of no caches
    assert this_machine(2).cache is limit_here(COSTS, 2).cache is None
