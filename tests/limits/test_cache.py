"""Which limit holds for a model is decided by its size, and never jumps."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from nearlight.errors import RequestError
from nearlight.limits import cache as caches
from nearlight.limits.cache import Cache
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import step_time
from nearlight.limits.run import RunLimit
from tests.limits.machines import MACHINE, LinearCosts, Work

MB = 1e6
CACHE = Cache(n_bytes=30 * MB, bytes_per_s=300e9)
CACHED = replace(MACHINE, cache=CACHE)


@pytest.mark.parametrize(("step_bytes", "source"), [(1, "cache"), (30 * MB, "cache"), (30 * MB + 1, "memory")])
def test_size_decides_whose_limit_holds(step_bytes: float, source: str) -> None:
    assert caches.reads_from(step_bytes, CACHE) == source
    assert caches.reads_from(step_bytes, None) == "memory"


def test_what_fits_is_all_there_and_what_is_far_larger_is_not_there_at_all() -> None:
    assert [CACHE.part(size * MB) for size in (1, 30)] == [1, 1]
    assert CACHE.part(150 * MB) == 0
    assert caches.bytes_per_s(20 * MB, 100e9, CACHE) == 300e9
    assert caches.bytes_per_s(150 * MB, 100e9, CACHE) == caches.bytes_per_s(20 * MB, 100e9, None) == 100e9


@pytest.mark.parametrize(("size", "part"), [(1.5, 0.417), (2, 0.203), (3, 0.060), (4, 0.020)])
def test_of_what_is_a_little_larger_a_part_is_there(size: float, part: float) -> None:
    assert CACHE.part(size * CACHE.n_bytes) == pytest.approx(part, abs=0.001)
    assert part == pytest.approx(math.exp((part - 1) * size), abs=0.002)


def test_the_limit_falls_without_a_jump() -> None:
    speeds = [caches.bytes_per_s(size * MB, 100e9, CACHE) for size in range(20, 200)]
    assert speeds[0] == 300e9
    assert speeds[-1] == 100e9
    assert all(0.85 * before < after <= before for before, after in pairwise(speeds))


def test_steps_of_a_machine_with_caches() -> None:
    assert step_time(Work(24 * MB, 3 * MB), CACHED).read_s == pytest.approx(27e6 / 300e9)
    assert step_time(Work(24e9), CACHED) == step_time(Work(24e9), MACHINE)
    assert CACHED.for_step(20 * MB).read_bytes_per_s(24e9) == 300e9
    assert CACHED.in_binary_units().cache is None  # the blog's arithmetic knows of none


def test_a_state_is_that_of_what_is_read() -> None:
    slower = CACHED.at("cache", 200e9)
    assert (slower.read_bytes_per_s(1 * MB), slower.read_bytes_per_s(1e9)) == (200e9, 100e9)
    slower = CACHED.at("memory", 50e9)
    assert (slower.read_bytes_per_s(1 * MB), slower.read_bytes_per_s(1e9)) == (300e9, 50e9)
    assert [slower.bandwidth(source) for source in ("cache", "memory")] == [300e9, 50e9]


def test_a_machine_with_caches_is_written_and_read() -> None:
    assert Hardware.from_json(CACHED.as_json()) == CACHED
    assert Hardware.from_json(MACHINE.as_json()) == MACHINE
    with pytest.raises(RequestError, match="cache: expected an object with n_bytes and bytes_per_s, found 7"):
        Hardware.from_json(MACHINE.as_json() | {"cache": 7})
    with pytest.raises(RequestError, match="cache bytes_per_s: expected a positive number, found 'x'"):
        Hardware.from_json(MACHINE.as_json() | {"cache": {"n_bytes": 1, "bytes_per_s": "x"}})


def test_a_run_is_held_against_the_limit_that_applies() -> None:
    costs = LinearCosts(weight_bytes=20 * MB, kv_token_bytes=0.1 * MB)
    limit = RunLimit(costs, 100e9, cache=CACHE)
    assert (limit.reads_from(50), limit.bytes_per_s(50)) == ("cache", 300e9)
    assert limit.share(6000, 50) == pytest.approx(6000 * 25e6 / 300e9)
    assert (limit.reads_from(101), limit.reads_from(2000)) == ("memory", "memory")
    assert limit.bytes_per_s(101) == pytest.approx(300e9, rel=0.05)
    assert limit.bytes_per_s(2000) == 100e9
    assert RunLimit(costs, 100e9).share(6000, 50) == pytest.approx(6000 * 25e6 / 100e9)
    beside = limit.seen_beside("cache", 200e9)
    assert (beside.bytes_per_s(50), beside.bytes_per_s(2000), beside.beside) == (200e9, 100e9, True)
    assert limit.seen_beside("memory", 50e9).bytes_per_s(2000) == 50e9
