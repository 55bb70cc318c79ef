"""The tape's times and the counted costs are of the same ops, in every family, and nothing of a step is lost;
accounts have all of the time, each part against its own limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nearlight.bench.model import target_of
from nearlight.bench.profile import (
    AROUND,
    WAITING,
    Profile,
    Timed,
    explain,
    join,
    profile_step,
    role_of,
    sampling_seconds,
)
from nearlight.errors import ShapeError
from nearlight.kernels.count import OpCost, StepCost
from nearlight.limits.cache import Cache
from nearlight.limits.hardware import Hardware
from tests.bench.tiny import CONFIG, GPT2, tiny

LLAMA = CONFIG | {"model_type": "llama", "tie_word_embeddings": False, "attention_bias": True}
QWEN2 = CONFIG | {"model_type": "qwen2"}


@pytest.mark.parametrize("config", [CONFIG, LLAMA, QWEN2, GPT2], ids=["qwen3", "llama", "qwen2", "gpt2"])
@pytest.mark.parametrize(("n_rows", "depth"), [(1, 0), (1, 70), (20, 3)])
def test_every_command_finds_its_cost(config: dict[str, Any], n_rows: int, depth: int) -> None:
    model = tiny("w8", config)
    engine = model.engine(2)
    counted = model.counted(target_of(engine))
    profile = profile_step(engine, counted, n_rows=n_rows, depth=depth, repetitions=2)
    costs = [op.cost for op in profile.ops if op.cost]
    assert [cost.name for cost in costs] == [cost.name for cost in counted.prefill(n_rows, start=depth)[0] if cost.name]
    assert {op.role for op in profile.ops if op.cost is None} == {"quantize"}
    assert all(op.seconds > 0 for op in profile.ops)
    assert profile.step_s == sum(op.seconds for op in profile.ops) + profile.waiting_s + profile.around_s
    assert engine.cache.n_bytes == 0


def test_quantizing_is_counted_with_the_product() -> None:
    up, down = OpCost("model.layers.0.mlp.up_proj.weight", "linear"), OpCost("add", "add")
    timed = join([("quantize", 1.0), (up.name, 2.0), ("add", 3.0)], StepCost([up, down]))
    assert timed == [Timed("quantize", None, 1.0), Timed("up_proj", up, 2.0), Timed("add", down, 3.0)]


@pytest.mark.parametrize("names", [["add", "rope"], ["rope"], ["add", "add", "add"]])
def test_a_tape_of_another_step_is_noticed(names: list[str]) -> None:
    step = StepCost([OpCost("add", "add"), OpCost("add", "add")])
    with pytest.raises(ShapeError, match="counted costs and its tape differ"):
        join([(name, 1.0) for name in names], step)


@pytest.mark.parametrize(
    ("name", "kind", "role"),
    [
        ("model.layers.11.self_attn.q_proj.weight", "linear", "q_proj"),
        ("transformer.h.3.mlp.c_fc.weight", "linear", "c_fc"),
        ("model.layers.0.input_layernorm.weight", "rms_norm", "rms_norm"),
        ("lm_head.weight", "linear", "head"),
        ("model.embed_tokens.weight", "linear", "head"),
        ("model.embed_tokens.weight", "embed", "embed"),
        ("attend", "attend", "attend"),
    ],
)
def test_roles_are_alike_in_all_layers(name: str, kind: str, role: str) -> None:
    assert role_of(OpCost(name, kind)) == role


def test_a_profile_adds_up() -> None:
    assert Profile([Timed("add", None, 1.0), Timed("add", None, 2.0)], 4.0, 8.0).step_s == 15.0


def test_of_sampling_the_median_is_told() -> None:
    now = iter([10.0, 11.0, 20.0, 25.0, 30.0, 32.0])
    assert sampling_seconds(1000, repetitions=3, clock=now.__next__) == 2.0


# -- accounts ----------------------------------------------------------------------------------------------------------

MACHINE = Hardware("slow", "cpu", 1e9, 100.0, {"fp32": 1000.0}, "made up", "measured")
UP = OpCost("up", "linear", weight_bytes=300, operations={"fp32": 500})  # limit: 3 s of reading
HEAD = OpCost("head", "linear", weight_bytes=100, operations={"fp32": 2000})  # limit: 2 s of computing
PROFILE = Profile(
    [
        Timed("quantize", None, 1.0),
        Timed("up_proj", UP, 4.0),
        Timed("up_proj", UP, 6.0),
        Timed("head", HEAD, 2.0),
        Timed("rms_norm", OpCost("norm", "rms_norm"), 0.5),
    ],
    waiting_s=4.0,
    around_s=2.5,
)


def test_all_of_the_time_is_accounted_for() -> None:
    found = explain("a step", 1, PROFILE, MACHINE)
    assert found.step_s == 20.0
    assert sum(account.seconds for account in found.accounts) == 20.0
    assert sum(account.share_of_step for account in found.accounts) == pytest.approx(1)
    assert [account.kind for account in found.accounts] == [
        "up_proj",
        WAITING,
        AROUND,
        "head",
        "quantize activations",
        "norms",
    ]


def test_each_kind_has_its_own_limit_and_gain() -> None:
    accounts = {account.kind: account for account in explain("a step", 1, PROFILE, MACHINE).accounts}
    up, head, waiting = accounts["up_proj"], accounts["head"], accounts[WAITING]
    assert (up.calls, up.n_bytes, up.operations, up.limit_s) == (2, 600, 1000, 6.0)
    assert (up.bytes_per_s, up.flops_per_s, up.share_of_limit) == (60.0, 100.0, 0.6)
    assert up.gain == pytest.approx(20 / 16)
    assert (head.share_of_limit, head.gain) == (1.0, 1.0)
    assert (waiting.share_of_limit, waiting.gain) == (None, pytest.approx(20 / 16))


def test_the_limit_of_the_step_is_that_of_all_ops_together() -> None:
    found = explain("a step", 5, PROFILE, MACHINE, sampling_s=0.25)
    assert found.limit_s == 7.0  # 700 bytes read; 3 s of computing beside it
    assert found.as_json()["sampling_s"] == 0.25
    assert found.as_json()["accounts"][0]["kind"] == "up_proj"


def test_what_is_faster_than_its_limit_gains_nothing() -> None:
    (account, *_) = explain("a step", 1, Profile([Timed("up_proj", UP, 1.0)], 0.0, 0.0), MACHINE).accounts
    assert account.share_of_limit == 3.0
    assert account.gain == 1.0


@pytest.mark.parametrize(("cache_bytes", "limit_s"), [(700, 1.5), (300, 5.41), (100, 6.0)])
def test_a_part_stays_in_the_cache_only_if_the_step_does(cache_bytes: float, limit_s: float) -> None:
    # The step reads 700 bytes: all of them are in a cache of 700, a few in one of 300, none in one of 100.
    machine = replace(MACHINE, cache=Cache(cache_bytes, 400.0))
    (up, *_) = explain("a step", 1, PROFILE, machine).accounts
    assert (up.kind, up.limit_s) == ("up_proj", pytest.approx(limit_s, abs=0.01))
