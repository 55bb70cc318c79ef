"""Predictions: all steps of a workload are counted, and timed at the limit and as calibrated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nearlight.bench.calibration import Calibration, Rate
from nearlight.bench.prediction import Predictor, steps_of
from nearlight.bench.profile import role_of
from nearlight.bench.runner import Workload
from nearlight.counting.counted_model import CountedModel
from nearlight.kernels.count import cpu_target
from nearlight.limits.cache import Cache
from nearlight.limits.hardware import Hardware
from tests.bench.tiny import tiny

MACHINE = Hardware("slow", "cpu", 1e9, 1e6, {"fp32": 1e9, "bf16": 2e9, "int8": 5e9}, "made up", "measured")


@pytest.fixture(scope="module")
def counted() -> CountedModel:
    return tiny("w8").counted(cpu_target("avx512"))


@pytest.mark.parametrize(("n_gen", "n_depth"), [(1, 0), (5, 300), (90, 7)])
def test_generation_costs_the_sum_of_its_steps(counted: CountedModel, n_gen: int, n_depth: int) -> None:
    steps, scale = steps_of(counted, Workload(n_gen=n_gen, n_depth=n_depth), chunk=512)
    every = [counted.decode(n_depth + i) for i in range(n_gen)]
    for total in ("weight_bytes", "kv_read_bytes", "bytes_written"):
        assert scale * sum(getattr(step, total) for step in steps) == pytest.approx(
            sum(getattr(step, total) for step in every), rel=2e-3
        )


def test_a_prompt_costs_its_chunks(counted: CountedModel) -> None:
    steps, scale = steps_of(counted, Workload(n_prompt=70, n_depth=11), chunk=32)
    assert scale == 1
    assert [step.kv_read_bytes for step in steps] == [
        counted.kv_bytes_per_token * (11 + n_tokens) for n_tokens in (32, 64, 70)
    ]


def test_without_calibration_the_limit_is_predicted(counted: CountedModel) -> None:
    found = Predictor(counted, MACHINE).predict(Workload(n_gen=4, n_depth=100), 512)
    steps = [counted.decode(100 + i) for i in range(4)]
    total = sum(step.bytes_read + step.bytes_written for step in steps)
    assert found.total_bytes == total
    assert found.predicted_s == found.limit_s == pytest.approx(total / 1e6)
    assert (found.bound, found.label) == ("bandwidth", "measured")


def test_the_limit_is_that_of_the_state(counted: CountedModel) -> None:
    predictor, workload = Predictor(counted, MACHINE), Workload(n_gen=4, n_depth=100)
    half = predictor.predict(workload, 512, MACHINE.bytes_per_s / 2)
    assert half.limit_s == pytest.approx(2 * predictor.predict(workload, 512).limit_s)
    assert (half.read_bytes_per_s, predictor.predict(workload, 512).read_bytes_per_s) == (5e5, 1e6)


def test_a_model_in_the_cache_has_the_caches_limit_and_state(counted: CountedModel) -> None:
    cached = replace(MACHINE, cache=Cache(2 * counted.weight_bytes, 7e6))
    predictor, workload = Predictor(counted, cached), Workload(n_gen=4)
    found = predictor.predict(workload, 512)
    assert predictor.reads_from == found.limit_of == "cache"
    assert (found.read_bytes_per_s, found.limit_s) == (7e6, pytest.approx(found.total_bytes / 7e6))
    slower = predictor.predict(workload, 512, 5e6)
    assert (slower.read_bytes_per_s, slower.bound) == (5e6, "bandwidth")
    assert predictor.in_state(5e6).bytes_per_s == MACHINE.bytes_per_s


def test_a_context_that_outgrows_the_cache_is_read_from_memory_too(counted: CountedModel) -> None:
    cached = replace(MACHINE, cache=Cache(counted.weight_bytes, 7e6))
    beyond = Predictor(counted, cached).predict(Workload(n_gen=4, n_depth=900), 512)
    assert beyond.limit_of == "memory"
    assert 1e6 < beyond.read_bytes_per_s < 7e6


def test_predictions_are_stored_for_every_chunk_that_may_be_chosen(counted: CountedModel) -> None:
    workloads = [Workload(n_prompt=300), Workload(n_gen=4)]
    stored = Predictor(counted, MACHINE).predict_all(workloads, (128, 512, 1024), 5e5)
    assert [(workload.name, rows) for workload, rows in stored] == [("pp300", 128), ("pp300", 300), ("tg4", 0)]
    assert {one.read_bytes_per_s for one in stored.values()} == {5e5}


def test_a_state_is_predicted_from_its_own_calibration(counted: CountedModel) -> None:
    rates = {role_of(op): Rate(0.0, 0.0) for op in counted.decode(0)}
    fast, slow = Calibration(rates, 1.0, 1e6), Calibration(rates, 5.0, 6e5)
    predictor = Predictor(counted, MACHINE, [fast, slow])
    assert [predictor.predict(Workload(n_gen=1), 512, speed).predicted_s for speed in (1.02e6, 5e5)] == [1.0, 5.0]
    assert [predictor.knows(speed) for speed in (1e6, 0.97e6, 0.8e6, 6e5)] == [True, True, False, True]


def test_a_calibration_predicts(counted: CountedModel) -> None:
    rates = {role_of(op): Rate(0.0, 0.0) for op in counted.decode(0)}
    calibration = Calibration(rates | {"rms_norm": Rate(0.25, 0.0)}, around_s=0.5, read_bytes_per_s=1e6)
    n_norms = sum(op.kind == "rms_norm" for op in counted.decode(0))
    found = Predictor(counted, MACHINE, [calibration]).predict(Workload(n_gen=40), 512)
    assert found.predicted_s == pytest.approx(40 * (0.5 + 0.25 * n_norms))
    assert found.label == "calibrated"
