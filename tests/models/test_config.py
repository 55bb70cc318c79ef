"""What families read from a config: defaults, refusals, and how far a context reaches."""

from typing import Any

import pytest

from nearlight.errors import NearlightError, PackageError
from nearlight.kernels.reference import ReferenceOps
from nearlight.layers.attention import Attention
from nearlight.models import build_model

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 103,
    "hidden_size": 42,
    "intermediate_size": 75,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 14,
    "max_position_embeddings": 96,
}


def build(**changes: Any) -> Any:
    config = {key: value for key, value in {**CONFIG, **changes}.items() if value is not ...}
    return build_model(ReferenceOps(), config)


def shapes(model: Any) -> dict[str, tuple[int, ...]]:
    return {parameter.name: parameter.shape for parameter in model.parameters()}


def test_parameters_are_declared_without_anything_being_read() -> None:
    declared = shapes(build())
    assert len(declared) == 3 * 9 + 3
    assert declared["model.layers.2.self_attn.k_proj.weight"] == (28, 42)
    assert declared["lm_head.weight"] == (103, 42)


def test_missing_keys_take_the_family_default() -> None:
    declared = shapes(build(hidden_size=48, head_dim=..., num_key_value_heads=...))
    assert declared["model.layers.0.self_attn.k_proj.weight"] == (48, 48)
    assert shapes(build(model_type="qwen3", head_dim=...))["model.layers.0.self_attn.q_norm.weight"] == (128,)


def test_a_tied_head_is_one_parameter() -> None:
    model = build(tie_word_embeddings=True)
    assert "lm_head.weight" not in shapes(model)
    assert [p.name for p in model.parameters() if p.role in ("embedding", "head")] == ["model.embed_tokens.weight"]


def test_fused_projections_are_parts_of_one_tensor() -> None:
    model = build_model(ReferenceOps(), {"model_type": "gpt2", "n_embd": 12, "n_head": 3, "n_layer": 1})
    parts = [p for p in model.parameters() if p.name == "transformer.h.0.attn.c_attn.weight"]
    assert [(p.part.start, p.part.total, p.shape) for p in parts if p.part] == [
        (0, 36, (12, 12)),
        (12, 36, (12, 12)),
        (24, 36, (12, 12)),
    ]


@pytest.mark.parametrize(
    ("changes", "positions"),
    [
        ({}, 96),
        ({"sliding_window": 40}, 96),
        ({"sliding_window": 40, "use_sliding_window": True}, 96),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.5}}, 240),
    ],
)
def test_how_far_a_context_reaches(changes: dict[str, Any], positions: int) -> None:
    assert build(**changes).max_positions == positions


def windows(model_type: str, **changes: Any) -> list[int | None]:
    return [layer.kv.window for layer in build(model_type=model_type, **changes).declared(Attention)]


def test_windows_are_those_in_use() -> None:
    on = {"sliding_window": 40, "use_sliding_window": True, "num_hidden_layers": 3}
    assert windows("llama", num_hidden_layers=3, sliding_window=40) == [None, None, None]
    assert windows("llama", **on) == [40, 40, 40]
    assert windows("qwen2", **on, max_window_layers=1) == [None, 40, 40]
    assert windows("qwen2", **on, max_window_layers=0) == [40, 40, 40]
    assert windows("qwen3", **on) == [None, None, None]  # from layer 28 on
    assert windows("mistral") == [4096] * 3  # its class's default, where a config says nothing
    assert windows("mistral", sliding_window=None) == [None] * 3
    assert windows("mistral", sliding_window=40) == [40] * 3
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    assert windows("qwen3", **on, layer_types=types, max_window_layers=2) == [40, None, 40]
    with pytest.raises(PackageError, match="layer_types: expected a list of full_attention and sliding_attention, f"):
        windows("qwen3", **on, layer_types=["sliding_attention", "linear_attention", "full_attention"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "perceptron"},
            "neither run nor plan models of the family perceptron yet; it runs exaone4, falcon_h1",
        ),
        ({"model_type": None}, "model_type: expected the name of a model family"),
        ({"hidden_size": ...}, "hidden_size is missing"),
        ({"hidden_size": 0}, "hidden_size: expected a positive integer, found 0"),
        ({"hidden_size": 2**40}, "hidden_size"),
        ({"num_hidden_layers": "three"}, "num_hidden_layers"),
        ({"num_attention_heads": True}, "num_attention_heads"),
        ({"num_key_value_heads": 4}, r"multiple of num_key_value_heads \(4\), found 6"),
        ({"head_dim": 7}, "head_dim: expected a positive even number, found 7"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"hidden_act": "relu"}, "hidden_act: expected one of silu, swish, found 'relu'"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"rope_parameters": [1]}, "rope_parameters: expected an object"),
        ({"rope_parameters": {"partial_rotary_factor": 0}}, "partial_rotary_factor"),
    ],
)
def test_senseless_configs_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(NearlightError, match=message) as caught:
        build(**changes)
    assert "\n" not in str(caught.value)
