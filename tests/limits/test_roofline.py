"""Costs to time on a machine of 100 GB/s, 1 TFLOP/s in fp32 and 2 in bf16."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from nearlight.limits.roofline import (
    decode_line,
    inflection,
    largest,
    largest_context,
    step_time,
    steps_time,
)
from tests.limits.machines import MACHINE, LinearCosts, Work


def test_step_takes_the_slower_of_reading_and_computing():
    slow_read = step_time(Work(9e9, 1e9, {"fp32": 5e9}), MACHINE)
    assert (slow_read.read_s, slow_read.compute_s, slow_read.total_s) == pytest.approx((0.1, 0.005, 0.1))
    assert slow_read.bound == "bandwidth"
    slow_compute = step_time(Work(1e9, 0, {"fp32": 1e11, "bf16": 4e11}), MACHINE)
    assert (slow_compute.total_s, slow_compute.bound) == (pytest.approx(0.3), "compute")


def test_data_type_without_a_peak_takes_the_wider_one():
    assert step_time(Work(0, 0, {"int8": 2e12}), MACHINE).compute_s == pytest.approx(1.0)


def test_steps_wait_for_one_another():
    time = steps_time([Work(1e9, 0, {"fp32": 1e11}), Work(1e10)], MACHINE)
    assert (time.read_s, time.compute_s, time.total_s) == pytest.approx((0.11, 0.1, 0.2))


def test_decode_latency_is_a_line():
    line = decode_line(LinearCosts(), MACHINE)
    assert (line.first_s, line.tokens_per_ms) == (pytest.approx(0.1), pytest.approx(100))
    assert line.tpot_s(4096) == pytest.approx(step_time(LinearCosts().decode(4096), MACHINE).total_s)


def test_context_may_cost_nothing():
    assert math.isinf(decode_line(LinearCosts(kv_token_bytes=0), MACHINE).tokens_per_ms)


@pytest.mark.parametrize("operations", [20e9, 13e9, 2e9])
def test_inflection_is_where_computing_takes_as_long_as_reading(operations):
    costs = LinearCosts(token_operations=operations)
    rows = inflection(lambda n: costs.prefill(n)[0], MACHINE)
    assert rows == pytest.approx(10e9 / 100e9 * 1e12 / operations)


def test_no_inflection_where_reading_always_bounds():
    assert inflection(lambda n: Work(n * 1e9, 0, {"fp32": n * 1e9}), MACHINE) is None


def test_inflection_of_one_row():
    assert inflection(lambda n: Work(1, 0, {"fp32": n * 1e12}), MACHINE) == 1.0


@pytest.mark.parametrize(
    ("limit", "most", "found"), [(0, 9, 0), (1, 9, 1), (6, 9, 6), (64, 9, 9), (64, 64, 64), (7, 0, 0)]
)
def test_largest(limit, most, found):
    assert largest(lambda n: n <= limit, most) == found


def test_largest_context_counts_whole_segments():
    assert largest_context(lambda n: -(-n // 256) * 256 * 10, 7000, 10_000) == 512
    assert largest_context(lambda n: 10 * n, -5, 100) == 0


def test_arithmetic_needs_no_arrays():
    modules = "hardware, roofline, convention, promise, speculation, thinking, run"
    code = (
        f"import sys; from nearlight.limits import {modules}; print(*sorted({{'numpy', 'torch'}} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
