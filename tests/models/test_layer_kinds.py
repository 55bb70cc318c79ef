"""What configs say of single layers: windows, chunks, rotation, experts."""

from __future__ import annotations

from typing import Any

import pytest

from nearlight.errors import PackageError
from nearlight.kernels.count import CountOps
from nearlight.layers.attention import Attention
from nearlight.layers.experts import SparseMLP
from nearlight.models import build_model
from tests.models.random_models import CONFIGS, WINDOWED


def built(name: str, **changes: Any) -> Any:
    return build_model(CountOps(), {**CONFIGS, **WINDOWED}[name].to_dict() | changes)


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("gemma2", [5, None, 5, None, 5, None, 5]),
        ("gemma3_text", [5, 5, 5, 5, 5, None, 5]),
        ("gpt_oss", [5, None, 5]),
        ("phi3", [5, 5, 5]),
        ("olmo2", [None, None, None]),
        ("llama4_text", [5, None, 5, 5, None]),
        ("llama4_text-plain", [16, 16, 16, None, 16]),
    ],
)
@pytest.mark.parametrize("told", [True, False])
def test_windows_are_in_the_layers_that_have_them(name: str, windows: list[int | None], told: bool) -> None:
    states = [layer.kv for layer in built(name, **({} if told else {"layer_types": None})).declared(Attention)]
    assert [state.window for state in states] == windows
    assert {state.chunked for state in states if state.window} <= {name.startswith("llama4")}


def test_ministral_has_windows_in_all_layers_unless_told():
    assert [layer.kv.window for layer in built("ministral").declared(Attention)] == [5, None, 5]
    assert [layer.kv.window for layer in built("ministral", layer_types=None).declared(Attention)] == [5, 5, 5]


def test_llama_4_has_experts_in_every_so_many_layers_or_in_those_told():
    assert len(list(built("llama4_text", moe_layers=None).declared(SparseMLP))) == 2
    assert len(list(built("llama4_text", moe_layers=[0, 2, 4]).declared(SparseMLP))) == 3


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("smollm3", {"no_rope_layers": [1, 0]}, "no_rope_layers: expected 5 of 0 and 1"),
        ("llama4_text", {"no_rope_layers": [1, 0, 1, 1, 2]}, "no_rope_layers: expected 5 of 0 and 1"),
        ("llama4_text", {"layer_types": ["sliding_attention"] * 5}, "list of full_attention and chunked_attention"),
        ("llama4_text", {"attention_chunk_size": 0}, "attention_chunk_size: expected a positive integer, found 0"),
        ("llama4_text", {"attn_temperature_tuning": "yes"}, "attn_temperature_tuning: expected true or false"),
        ("llama4_text", {"moe_layers": [5]}, "moe_layers: expected numbers of 5 layers"),
        ("gemma2", {"layer_types": ["full_attention"]}, "layer_types: expected a list of 7"),
        ("gemma2", {"sliding_window": 0}, "sliding_window: expected a positive integer, found 0"),
        ("ministral", {"layer_types": ["full"] * 3}, "list of full_attention and sliding_attention"),
        ("ministral", {"sliding_window": -1}, "sliding_window: expected a positive integer, found -1"),
        ("gpt_oss", {"layer_types": "full"}, "layer_types: expected a list of str"),
        ("phi3", {"sliding_window": 0}, "sliding_window: expected a positive integer, found 0"),
        ("phi3-longrope", {"original_max_position_embeddings": 0}, "original_max_position_embeddings: expected a pos"),
    ],
)
def test_senseless_layers_are_refused(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(PackageError, match=message):
        built(name, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"short_factor": [1.0] * 5}, "short_factor: expected 6 positive numbers"),
        ({"long_factor": [1.0] * 7}, "long_factor: expected 6 positive numbers"),
        ({"long_factor": [1.0] * 5 + [0.0]}, "long_factor: expected 6 positive numbers"),
        ({"long_factor": [1.0] * 5 + ["1"]}, "long_factor: expected 6 positive numbers"),
        ({"short_factor": None}, "short_factor: expected 6 positive numbers"),
        ({"factor": -1}, "factor: expected a number above 0"),
        ({"partial_rotary_factor": 0.5}, "short_factor: expected 4 positive numbers"),
    ],
)
def test_senseless_factors_are_refused(change: dict[str, Any], message: str) -> None:
    rope = CONFIGS["phi3-longrope"].to_dict()["rope_parameters"]
    with pytest.raises(PackageError, match=message):
        built("phi3-longrope", rope_parameters=rope | change)


def test_early_configs_call_longrope_yarn():
    rope = CONFIGS["phi3-longrope"].to_dict()["rope_parameters"]
    old = built("phi3-longrope", rope_parameters=rope | {"rope_type": "yarn"})
    assert old.rewrites_keys
    assert not built("phi3").rewrites_keys
