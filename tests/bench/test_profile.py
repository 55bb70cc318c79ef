"""The tape's times and the counted costs are of the same ops, in every family, and nothing of a step is lost."""

from __future__ import annotations

from typing import Any

import pytest

from nearlight.bench.probing import profile_engine, sampling_seconds
from nearlight.bench.profile import Profile, Timed, join, role_of
from nearlight.bench.subject import target_of
from nearlight.errors import ShapeError
from nearlight.kernels.count import OpCost, StepCost
from tests.bench.tiny import CONFIG, GPT2, description

LLAMA = CONFIG | {"model_type": "llama", "tie_word_embeddings": False, "attention_bias": True}
QWEN2 = CONFIG | {"model_type": "qwen2"}


@pytest.mark.parametrize("config", [CONFIG, LLAMA, QWEN2, GPT2], ids=["qwen3", "llama", "qwen2", "gpt2"])
@pytest.mark.parametrize(("n_rows", "depth"), [(1, 0), (1, 70), (20, 3)])
def test_every_command_finds_its_cost(config: dict[str, Any], n_rows: int, depth: int) -> None:
    model = description("w8", config)
    engine = model.engine(2)
    counted = model.counted(target_of(engine))
    profile = profile_engine(engine, counted, n_rows=n_rows, depth=depth, repetitions=2)
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
