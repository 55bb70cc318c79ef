"""Predictions from a slice: exact for the steps they were taken from, and in proportion for others."""

from __future__ import annotations

import pytest

from nearlight.bench import calibration
from nearlight.bench.calibration import calibrate, compute_work, from_profiles, memory_work, slice_of
from nearlight.bench.profile import Profile, Timed, role_of
from nearlight.bench.steady import Repeater
from nearlight.counting.counted_model import CountedModel
from nearlight.kernels.count import OpCost, StepCost, cpu_target
from tests.bench.tiny import GPT2, tiny

DEPTH, CHUNK, READS = 200, 64, 40e9


@pytest.fixture(scope="module")
def counted() -> CountedModel:
    return tiny("w8").counted(cpu_target("avx512"))


def profile(step: StepCost, seconds: dict[str, float], *, waiting_s: float, around_s: float) -> Profile:
    """Make a profile in which an op takes as long as its role says."""
    ops = [Timed(role_of(op), op, seconds.get(role_of(op), 1.0)) for op in step]
    return Profile([Timed("quantize", None, 5.0), *ops], waiting_s, around_s)


@pytest.fixture(scope="module")
def profiles(counted: CountedModel) -> tuple[Profile, Profile]:
    decode = profile(counted.decode(DEPTH), {"attend": 3.0, "head": 40.0}, waiting_s=7.0, around_s=2.0)
    prefill = profile(counted.prefill(CHUNK)[0], {"up_proj": 50.0, "attend": 20.0}, waiting_s=10.0, around_s=2.0)
    return decode, prefill


def test_the_profiled_decode_step_is_predicted_exactly(
    counted: CountedModel, profiles: tuple[Profile, Profile]
) -> None:
    found = from_profiles(*profiles, READS)
    n_ops = len(profiles[0].ops)
    # Waiting is per op, and `quantize` is one that no step counts.
    assert found.seconds([counted.decode(DEPTH)]) == pytest.approx(profiles[0].step_s - 7.0 / n_ops, rel=1e-6)


def test_large_ops_of_the_profiled_prefill_step_are_predicted_exactly(
    counted: CountedModel, profiles: tuple[Profile, Profile]
) -> None:
    found = from_profiles(*profiles, READS)
    uneven = 1 + 10.0 / sum(op.seconds for op in profiles[1].ops)
    (up, *_) = [op for op in counted.prefill(CHUNK)[0] if role_of(op) == "up_proj"]
    assert found.rates["up_proj"].seconds(up) == pytest.approx(50.0 * uneven)


def test_a_step_in_between_takes_the_longer_of_both(counted: CountedModel, profiles: tuple[Profile, Profile]) -> None:
    rate = from_profiles(*profiles, READS).rates["up_proj"]
    few, many = (next(op for op in counted.prefill(n_rows)[0] if role_of(op) == "up_proj") for n_rows in (1, 32))
    assert rate.seconds(few) == rate.per_memory * few.bytes_read
    assert rate.seconds(many) == rate.per_compute * many.operations["int8"] > rate.per_memory * many.bytes_read


def test_attention_grows_with_the_context(counted: CountedModel, profiles: tuple[Profile, Profile]) -> None:
    found = from_profiles(*profiles, READS)
    steps = [counted.decode(context) for context in (DEPTH, 2 * DEPTH, 3 * DEPTH)]
    first, second, third = (found.seconds([step]) for step in steps)
    assert third - second == pytest.approx(second - first)
    assert second - first == pytest.approx(3 * (3.0 + 7.0 / len(profiles[0].ops)) * DEPTH / (DEPTH + 1))


def test_where_memory_is_slower_only_what_reads_it_is(counted: CountedModel, profiles: tuple[Profile, Profile]) -> None:
    found = from_profiles(*profiles, READS)
    by_kind = {op.kind: op for op in counted.decode(DEPTH)}
    linear, norm = by_kind["linear"], by_kind["rms_norm"]
    assert found.rates[role_of(linear)].seconds(linear, 2.0) == 2 * found.rates[role_of(linear)].seconds(linear)
    assert found.rates["rms_norm"].seconds(norm, 2.0) == found.rates["rms_norm"].seconds(norm)
    step = [counted.decode(DEPTH)]
    assert found.seconds(step) < found.seconds(step, READS / 2) < 2 * found.seconds(step)
    assert found.seconds(step, READS) == found.seconds(step)


def test_every_step_costs_what_lies_around_it(counted: CountedModel, profiles: tuple[Profile, Profile]) -> None:
    found = from_profiles(*profiles, READS)
    step = counted.decode(3)
    assert found.seconds([step] * 5) == pytest.approx(5 * found.seconds([step]))
    assert found.seconds([StepCost()]) == found.around_s == 2.0


def test_work_in_the_cache_is_counted_by_calls_and_by_bytes() -> None:
    norm = OpCost("n", "rms_norm", weight_bytes=8, operations={"fp32": 6})
    add = OpCost("add", "add", activation_bytes=12)
    attend = OpCost("attend", "attend", kv_read_bytes=9, operations={"bf16": 4, "fp32": 3})
    assert [memory_work(op) for op in (norm, add, attend)] == [1, 1, 9]
    assert [compute_work(op) for op in (norm, add, attend)] == [6, 12, 7]


def test_a_slice_is_as_small_as_the_caches_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("w8", num_hidden_layers=40)
    one = model.counted(cpu_target()).weight_bytes / 40

    def layers_with(cache_bytes: float) -> int:
        monkeypatch.setattr(calibration, "last_cache_bytes", lambda: int(cache_bytes))
        return int(slice_of(model).config["num_hidden_layers"])

    assert layers_with(0) == 2
    assert 9 <= layers_with(10 * one / 4) <= 12
    assert layers_with(1e9) == 40
    assert slice_of(tiny("w8", GPT2)).config["n_layer"] == 2


def test_calibrating_takes_rates_of_all_that_the_model_does() -> None:
    model = tiny("w4")
    found = calibrate(model, Repeater(lambda: READS), threads=1, chunk=32)
    assert found.read_bytes_per_s == READS
    counted = model.counted(cpu_target())
    seconds = [found.seconds(steps) for steps in ([counted.decode(5)], counted.prefill(100, 32))]
    assert min(seconds) > 0
    assert all(rate.per_memory > 0 and rate.per_compute > 0 for rate in found.rates.values())
