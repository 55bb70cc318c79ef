"""Plans: the verdict, the numbers behind it, and what would fit instead."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nearlight.engine.engine import STEP_ROWS
from nearlight.errors import RequestError, UnsupportedError
from nearlight.limits.hardware import Hardware, find_hardware
from nearlight.limits.promise import Load, Promise
from nearlight.plan import compare_weights, make_plan
from nearlight.plan.memory import ACCELERATOR_RUNTIME_BYTES
from tests.counting.test_counted_model import package_of
from tests.kernels.counted_models import LLAMA

QWEN3_BYTES = 2 * 596049920 + 2 * (28 * (2 * 1024 + 2 * 128) + 1024)  # bf16 matrices; norms are float32
SMALL = Hardware("small", "cpu", 2e9, 50e9, {"fp32": 5e11, "bf16": 1e12, "int8": 2e12}, "by hand", label="measured")


def test_plan_by_hand():
    plan = make_plan("qwen3-0.6b", "rtx4090", context=2048)
    assert plan.fits
    assert plan.memory.weights == QWEN3_BYTES
    assert plan.memory.kv == 2048 * 28 * 2 * 8 * 128 * 2
    assert plan.memory.overhead > ACCELERATOR_RUNTIME_BYTES
    assert plan.memory.available == 24 * 2**30
    first = next(point for point in plan.decode if point.context == 1024)
    read = QWEN3_BYTES + 2 * 1024 + 1025 * 114688 + 114688  # one embedding row; the new token's keys, written and read
    assert first.tpot_s == pytest.approx(read / 1008e9, rel=1e-9)
    assert first.tok_s == pytest.approx(1 / first.tpot_s)


def test_json_has_the_keys_that_others_rely_on():
    report = json.loads(json.dumps(make_plan("gpt2", "ryzen7950x").as_json()))
    contract = {
        "params": {"embedding", "layers", "lm_head", "total", "active"},
        "memory": {"weights", "kv", "overhead", "total", "available"},
        "prefill": {"n_prompt", "read_s", "compute_s", "ttft_s", "bound", "inflection_tokens"},
        "decode_line": {"first_s", "tokens_per_ms"},
        "hardware": {"name", "bytes_per_s", "flops", "memory_bytes", "source"},
    }
    for key, inner in contract.items():
        assert inner <= report[key].keys()
    assert {"context", "tpot_s", "tok_s", "bound"} <= report["decode"][0].keys()
    assert {"model", "kv_bytes_per_token", "fits", "max_context"} <= report.keys()


def test_what_does_not_fit_has_no_speed():
    plan = make_plan("llama-3.1-70b", "rtx4090")
    assert not plan.fits
    assert (plan.max_context, plan.decode, plan.prefill, plan.decode_line) == (0, (), None, None)
    assert plan.verdict.startswith("does not fit: Llama-3.1-70B at bf16")
    assert not plan.runnable
    assert plan.reason == "it needs 134 GiB, and there are 24 GiB"
    assert "not even the weights fit" in plan.verdict


def test_what_does_not_fit_at_a_context_has_the_longest_that_does():
    plan = make_plan("qwen1.5-7b", "rtx4090", context=32768)
    assert not plan.fits
    assert 14_000 < plan.max_context < 22_072
    assert max(point.context for point in plan.decode) == plan.max_context
    assert f"at most {plan.max_context} tokens fit" in plan.verdict
    assert make_plan("qwen1.5-7b", "rtx4090", context=plan.max_context).fits
    assert not make_plan("qwen1.5-7b", "rtx4090", context=plan.max_context + 1).fits


def test_advice_makes_it_fit():
    plan = make_plan("qwen1.5-7b", "rtx4090", context=32768)
    weights, cache, context, smaller = plan.advice
    assert weights.startswith("--weights w6: weights take 5.90 GiB")
    assert cache.startswith("--kv q8")
    assert context == f"--context {plan.max_context}: the longest that fits as it is"
    assert smaller.startswith("qwen1.5-4b: a smaller model, whose weights take 7.")
    assert make_plan("qwen1.5-7b", "rtx4090", context=32768, weights="w6").fits
    assert not make_plan("qwen1.5-7b", "rtx4090", context=32768, weights="w8").fits
    assert make_plan("qwen1.5-7b", "rtx4090", context=32768, kv="q8").fits
    assert make_plan("qwen1.5-4b", "rtx4090", context=32768).fits


def test_advice_combines_changes_where_one_is_not_enough():
    plan = make_plan("qwen1.5-32b", "rtx4090", context=32768)
    assert plan.advice[0] == "--weights w4 --kv q8"
    assert make_plan("qwen1.5-32b", "rtx4090", context=32768, weights="w4", kv="q8").fits
    assert not make_plan("qwen1.5-32b", "rtx4090", context=32768, weights="w4").fits


def test_a_large_model_in_few_bits_is_proposed_before_a_small_one_in_many():
    (smaller,) = make_plan("qwen1.5-72b", "rtx4090").advice
    assert smaller.startswith("qwen1.5-32b --weights w4: a smaller model, whose weights take 17.4 GiB")
    assert make_plan("qwen1.5-32b", "rtx4090", weights="w4").fits
    assert not make_plan("qwen1.5-32b", "rtx4090", weights="w6").fits


def test_models_that_run_are_proposed_first(planned_only: str):
    box = Hardware("box", "cpu", 12 * 2**30, 50e9, {"fp32": 5e11}, "by hand")
    larger_box = replace(box, memory_bytes=18 * 2**30)
    models = [advice for advice in make_plan("qwen3-32b", larger_box).advice if "a smaller model" in advice]
    assert [advice.partition(":")[0] for advice in models] == ["qwen3-30b-a3b --weights w4"]
    *_, of_the_series, that_runs = make_plan("phi-4", box).advice
    assert of_the_series.startswith("phi-4-mini: a smaller model")
    assert of_the_series.endswith("; nearlight cannot run it yet")
    name = that_runs.split(":")[0].split()
    assert "cannot run" not in that_runs
    assert make_plan(name[0], box, weights=name[2] if name[1:] else None).runnable


def test_what_nearlight_runs_is_told_apart_from_what_would_fit(planned_only: str):
    here = make_plan("qwen3-0.6b", SMALL)
    assert (here.fits, here.runnable, here.reason) == (True, True, None)
    assert here.verdict.startswith("fits, and nearlight runs it here: Qwen3-0.6B")
    assert make_plan("qwen3-0.6b", "ryzen7950x").answer == "fits, and nearlight runs it there"
    on_gpu = make_plan("qwen3-0.6b", "rtx4090")
    assert (on_gpu.fits, on_gpu.runnable) == (True, False)
    assert on_gpu.reason == "nearlight does not run on GPUs yet, only on CPUs"
    assert on_gpu.verdict.startswith("would fit; nearlight cannot run it yet: Qwen3-0.6B")
    planned = make_plan("phi-4-mini", "ryzen7950x")
    assert planned.reason == "nearlight cannot run models of the family phi3 yet; it can plan them"
    assert make_plan("phi-4-mini", "rtx4090").reason == planned.reason


def test_models_are_planned_as_they_are_published():
    plan = make_plan("gpt-oss-20b", "rtx4090")
    assert plan.weights == "mxfp4"
    experts = 24 * 3 * 32 * 2880 * 2880
    vectors = 24 * (32 * 3 * 2880 + 32 + 64 + 4096 + 2 * 512 + 2880 + 2 * 2880) + 2880  # biases, sinks and norms
    matrices = 20914757184 - experts - vectors
    assert plan.memory.weights == experts * 17 / 32 + 2 * matrices + 4 * vectors
    assert make_plan("gpt-oss-20b", "h200", weights="bf16").memory.weights > 3 * plan.memory.weights


def test_fitting_plan_needs_no_advice():
    assert make_plan("gpt2", "rtx4090").advice == ()


def test_this_engine_is_planned_on_cpus():
    plan = make_plan("qwen3-0.6b", SMALL, weights="w4", context=300, prompt=300)
    assert plan.chunk == STEP_ROWS
    assert plan.memory.kv == 512 * (114688 + 28 * 8 * 4)  # two segments of 256 tokens
    assert plan.label == "measured"
    assert plan.prefill is not None
    assert plan.prefill.bound == "compute"
    assert plan.prefill.compute_s > 2 * 300 * 440e6 / 2e12


def test_less_memory_may_be_available_than_there_is():
    assert make_plan("qwen3-0.6b", SMALL).fits
    assert not make_plan("qwen3-0.6b", SMALL, available_bytes=1e9).fits


def test_package_is_planned_in_its_stored_bits():
    plan = make_plan(package_of(LLAMA, {}), "rtx4090", context=500)
    assert plan.weights == "stored bits"
    assert plan.memory.weights == make_plan(package_of(LLAMA, {}), "rtx4090", weights="bf16").memory.weights
    assert make_plan(package_of(LLAMA, {}), "rtx4090", weights="w8").memory.weights < plan.memory.weights


def test_weights_are_compared():
    plans = compare_weights("qwen3-4b", find_hardware("m2"), context=8192)
    assert [plan.weights for plan in plans] == ["bf16", "w8", "w6", "w4"]
    speeds = [plan.decode[0].tok_s for plan in plans]
    assert speeds == sorted(speeds)


def test_plan_answers_further_questions():
    plan = make_plan("qwen3-8b", "h100sxm", context=4096)
    users = plan.users(Promise(2.0, 0.05), Load(1000, 500))
    assert users.count > 50
    assert users.stopped_by in {"memory", "tpot"}
    assert plan.speculation(0.8).speedup(0.8) > 2
    assert plan.thinking(1000, 2000).delay_s == pytest.approx(2000 * plan.decode[0].tpot_s, rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "w5"}, "weights: expected one of bf16, w8, w6, w4, found 'w5'"),
        ({"kv": "q3"}, "kv: expected one of f16, q8, f32, found 'q3'"),
        ({"convention": "forum"}, "convention: expected one of physical, blog, found 'forum'"),
        ({"prompt": 0}, "prompt: expected at least 1 token, found 0"),
        ({"context": -5}, "context: expected at least 1 token, found -5"),
        ({"context": 50_000}, "context: expected at most 40960, the model's own, found 50000"),
        (
            {"context": 100, "prompt": 101},
            "prompt longer than the context: expected at most 100 tokens of context, found 101",
        ),
        ({"prompt": 50_000}, "prompt longer than the context: expected at most 40960 tokens of context, found 50000"),
        ({"hardware": "abacus"}, "hardware: expected one of"),
        ({"isa": "sse", "hardware": "ryzen7950x"}, "instruction level: expected one of"),
    ],
)
def test_senseless_requests_are_refused(options, message):
    hardware = options.pop("hardware", "rtx4090")
    with pytest.raises(RequestError, match=message):
        make_plan("qwen3-0.6b", hardware, **options)


def test_unknown_models_are_refused():
    with pytest.raises(RequestError, match="no model of this name"):
        make_plan("qwen9-1t", "rtx4090")
    with pytest.raises(UnsupportedError, match="neither run nor plan"):
        make_plan("deepseek-v3", "rtx4090")
