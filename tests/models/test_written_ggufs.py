"""Families of which llama.cpp's converter made no file here: files as it would write them, against transformers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import transformers

import nearlight
from nearlight.errors import PackageError
from tests.models.random_models import CONFIGS, EXPERTS, random_model, relative_error, transformers_logits

IDS = [int(i) for i in np.random.default_rng(6).integers(3, 103, 41)]
LLAMA4 = transformers.Llama4TextConfig(
    **{**EXPERTS, "num_hidden_layers": 5, "num_experts_per_tok": 1},
    num_local_experts=3,
    intermediate_size_mlp=26,
    interleave_moe_layer_step=2,
)
_MODULES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "feed_forward.router": "ffn_gate_inp",
}
_MODULES |= {f"{mlp}.{part}_proj": f"ffn_{part}" for mlp in ("mlp", "feed_forward") for part in ("gate", "up", "down")}
_MODULES |= {f"feed_forward.shared_expert.{part}_proj": f"ffn_{part}_shexp" for part in ("gate", "up", "down")}


def write(path: Path, architecture: str, config: Any, **more: float) -> Any:
    """Write a random model in float32, and return it. `more` are keys below the architecture's."""
    writer, model = gguf.GGUFWriter(path, architecture), random_model(config)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if config.rope_parameters["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    for key, value in more.items():
        add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
        add(f"{architecture}.{key.replace('__', '.')}", value)
    for name, parameter in model.state_dict().items():
        for ours, values in _parts(architecture, config, name, parameter.numpy()):
            writer.add_tensor(ours, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _parts(architecture: str, config: Any, name: str, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    layer = re.match(r"model\.layers\.(\d+)\.", name)
    place = f"blk.{layer[1]}." if layer else ""
    inside = name[layer.end() :] if layer else name
    if inside.endswith("experts.gate_up_proj"):
        gate, up = np.split(values.swapaxes(1, 2), 2, axis=1)
        return [(f"{place}ffn_gate_exps.weight", gate), (f"{place}ffn_up_exps.weight", up)]
    if inside.endswith("experts.down_proj"):
        return [(f"{place}ffn_down_exps.weight", values.swapaxes(1, 2))]
    module = inside.removesuffix(".weight")
    if architecture == "mistral3" and module.endswith(("q_proj", "k_proj")):
        heads = config.num_attention_heads if module.endswith("q_proj") else config.num_key_value_heads
        values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
    return [(f"{place}{_MODULES[module]}.weight", values)]


def write_ministral3(path: Path) -> Any:
    rope = CONFIGS["ministral3"].rope_parameters
    return write(
        path,
        "mistral3",
        CONFIGS["ministral3"],
        feed_forward_length=CONFIGS["ministral3"].intermediate_size,
        attention__temperature_scale=rope["llama_4_scaling_beta"],
        rope__scaling__factor=rope["factor"],
        rope__scaling__original_context_length=rope["original_max_position_embeddings"],
        rope__scaling__yarn_log_multiplier=rope["mscale_all_dim"],
    )


def write_llama4(path: Path, **more: float) -> Any:
    sizes = {"feed_forward_length": 26, "expert_feed_forward_length": LLAMA4.intermediate_size}
    routing = {"expert_count": 3, "expert_used_count": 1, "interleave_moe_layer_step": 2}
    return write(path, "llama4", LLAMA4, **(sizes | routing | more))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("write_it", [write_ministral3, write_llama4])
def test_logits_are_those_of_the_model_it_was_made_from(tmp_path: Path, write_it: Any, backend: str) -> None:
    theirs = write_it(tmp_path / "model.gguf")
    model = nearlight.load(tmp_path / "model.gguf", backend=backend, kv="f32")
    assert relative_error(model.logits(IDS), transformers_logits(theirs, IDS)) <= 1e-5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"expert_count": 0}, "llama4.expert_count': expected a whole number from 1 to"),
        ({"expert_count": 4}, r"shape of tensor model\.layers\.1\.feed_forward\.router\.weight: expected \[4, 42\]"),
        ({"expert_used_count": 4}, "num_experts_per_tok: expected at most 3, found 4"),
        ({"expert_feed_forward_length": 74}, "shape of tensor"),
        ({"interleave_moe_layer_step": 0}, "interleave_moe_layer_step': expected a whole number from 1 to"),
        ({"interleave_moe_layer_step": 1}, r"tensor model\.layers\.0\.feed_forward\..* is missing"),
    ],
)
def test_senseless_experts_are_refused(tmp_path: Path, more: dict[str, float], message: str) -> None:
    write_llama4(tmp_path / "model.gguf", **more)
    with pytest.raises(PackageError, match=message):
        nearlight.load(tmp_path / "model.gguf")
