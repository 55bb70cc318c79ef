"""GGUF files of hybrids with experts, written here as llama.cpp's converter does, against transformers.

Files that the converter itself made are in test_tiny_ggufs.py; of these families there are none, or none with experts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import nearlight
from nearlight import formats
from nearlight.errors import PackageError, UnsupportedError
from nearlight.package import open_package
from tests.models.random_models import CONFIGS, relative_error, transformers_logits, write_model

IDS = [3, 17, 55, 1, 99, 20, 7, 44, 8, 8, 12, 66, 31, 90, 5, 71, 2, 40, 63]
MODULES = {
    r"input_layernorm|operator_norm|norm": "attn_norm",
    r"post_attention_layernorm|ffn_norm": "ffn_norm",
    r"(?:self_attn|mixer)\.([qkv])_proj": r"attn_\1",
    r"(?:self_attn|mixer)\.(?:o|out)_proj(?<!mixer\.out_proj)": "attn_output",
    r"self_attn\.([qk])_(?:layer)?norm": r"attn_\1_norm",
    r"conv\.(in_proj|conv|out_proj)": r"shortconv.\1",
    r"feed_forward\.w1": "ffn_gate",
    r"feed_forward\.w3": "ffn_up",
    r"feed_forward\.w2": "ffn_down",
    r"(?:feed_forward|mlp|mixer)\.gate|block_sparse_moe\.router\.layer": "ffn_gate_inp",
    r".*\.experts\.\d+\.(?:w1|gate_proj)": "ffn_gate_exps",
    r".*\.experts\.\d+\.(?:w3|up_proj)": "ffn_up_exps",
    r".*\.experts\.\d+\.(?:w2|down_proj)": "ffn_down_exps",
    r"mixer\.shared_experts\.(up|down)_proj": r"ffn_\1_shexp",
    r"mixer\.fc1_latent_proj": "ffn_latent_down",
    r"mixer\.fc2_latent_proj": "ffn_latent_up",
    r"mixer\.(up|down)_proj": r"ffn_\1",
    r"mixer\.in_proj": "ssm_in",
    r"mixer\.out_proj": "ssm_out",
    r"mixer\.conv1d": "ssm_conv1d",
    r"mixer\.norm": "ssm_norm",
    r".*(?:embed_tokens|embeddings)": "token_embd",
    r"model\.norm|backbone\.norm_f": "output_norm",
    r"model\.embedding_norm": "token_embd_norm",
    r"lm_head": "output",
}
WHOLE = {
    "mixer.dt_bias": "ssm_dt.bias",
    "mixer.A_log": "ssm_a",
    "mixer.D": "ssm_d",
    "mixer.gate.e_score_correction_bias": "exp_probs_b.bias",
    "feed_forward.expert_bias": "exp_probs_b.bias",
}
ARCHITECTURES = {
    "lfm2_moe": "lfm2moe",
    "nemotron_h": "nemotron_h_moe",
    "nemotron_h-latent": "nemotron_h_moe",
    "granitemoe": "granitemoe",
    "olmoe": "olmoe",
}


def name_in_file(name: str) -> str:
    layer, inside = re.fullmatch(r"(?:(?:model|backbone)\.layers\.(\d+)\.)?(.*)", name).groups()  # type: ignore[union-attr]
    place = f"blk.{layer}." if layer else ""
    if inside in WHOLE:
        return place + WHOLE[inside]
    module, _, kind = inside.rpartition(".")
    found = [re.sub(pattern, there, module) for pattern, there in MODULES.items() if re.fullmatch(pattern, module)]
    assert len(found) == 1, (name, found)
    return f"{place}{found[0]}.{kind}"


def as_stored(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    """Order and shape values as the converter does."""
    if name.endswith(".ssm_a"):
        return -np.exp(values)[:, None]
    if name.endswith(".ssm_d"):
        return values[:, None]
    if name.endswith(".ssm_norm.weight"):
        return values.reshape(config.n_groups, -1)
    if name.endswith((".ssm_conv1d.weight", ".shortconv.conv.weight")):
        return values.reshape(len(values), -1)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads and config.model_type in ("nemotron_h", "granitemoe"):
        return values.reshape(heads, 2, len(values) // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)
    return values


def metadata(config: Any) -> dict[str, Any]:
    kinds = getattr(config, "layer_types", None) or [""] * config.num_hidden_layers
    attends = [kind == "full_attention" or not kind for kind in kinds]
    keys: dict[str, Any] = {
        "block_count": len(kinds),
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": [config.num_key_value_heads * n for n in attends],
        "expert_count": getattr(config, "num_experts", 0) or config.num_local_experts,
        "expert_used_count": config.num_experts_per_tok,
        "rope.freq_base": (getattr(config, "rope_parameters", None) or {"rope_theta": 1e4})["rope_theta"],
        "attention.layer_norm_rms_epsilon": getattr(config, "norm_eps", None) or getattr(config, "rms_norm_eps", 1e-5),
    }
    if config.model_type == "lfm2_moe":
        keys |= {
            "shortconv.l_cache": config.conv_L_cache,
            "expert_feed_forward_length": config.moe_intermediate_size,
            "leading_dense_block_count": config.num_dense_layers,
            "expert_weights_scale": config.routed_scaling_factor,
        }
    if config.model_type == "nemotron_h":
        widths = {"moe": config.intermediate_size, "mlp": config.intermediate_size}
        keys |= {
            "feed_forward_length": [widths.get(kind, 0) for kind in kinds],
            "attention.layer_norm_epsilon": keys.pop("attention.layer_norm_rms_epsilon"),
            "attention.key_length": config.head_dim,
            "attention.value_length": config.head_dim,
            "expert_feed_forward_length": config.moe_intermediate_size,
            "expert_shared_feed_forward_length": config.moe_shared_expert_intermediate_size,
            "expert_weights_scale": config.routed_scaling_factor,
            "expert_weights_norm": config.norm_topk_prob,
            "expert_group_count": config.n_group,
            "expert_group_used_count": config.topk_group,
            "moe_latent_size": config.moe_latent_size or 0,
            "ssm.conv_kernel": config.conv_kernel,
            "ssm.state_size": config.ssm_state_size,
            "ssm.group_count": config.n_groups,
            "ssm.inner_size": config.mamba_num_heads * config.mamba_head_dim,
            "ssm.time_step_rank": config.mamba_num_heads,
        }
    if config.model_type == "granitemoe":
        keys |= {
            "attention.scale": config.attention_multiplier,
            "embedding_scale": config.embedding_multiplier,
            "residual_scale": config.residual_multiplier,
            "logit_scale": config.logits_scaling,
        }
    return keys


def write_gguf(path: Path, name: str, config: Any, tensors: Mapping[str, np.ndarray], **changed: Any) -> None:
    architecture = ARCHITECTURES[name]
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in (metadata(config) | changed).items():
        full = f"{architecture}.{key}"
        if isinstance(value, list):
            writer.add_array(full, [int(v) for v in value])
        elif isinstance(value, bool):
            writer.add_bool(full, value)
        elif isinstance(value, float):
            writer.add_float32(full, value)
        else:
            writer.add_uint32(full, value)
    for key, values in tensors.items():
        writer.add_tensor(key, np.ascontiguousarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors_of(directory: Path, config: Any) -> dict[str, np.ndarray]:
    """Read a package's tensors under the names that files have, each layer's experts in one."""
    found: dict[str, np.ndarray] = {}
    experts: dict[str, list[np.ndarray]] = {}
    package = open_package(directory)
    for name in sorted(package.tensors, key=lambda name: [int(n) for n in re.findall(r"\d+", name)]):
        tensor, there = package.tensors[name], name_in_file(name)
        values = formats.dequantize(tensor.format, tensor.read(), tensor.row_length).reshape(tensor.shape)
        if ".experts." in name and "shared" not in name:
            experts.setdefault(there, []).append(values)
        else:
            found[there] = as_stored(there, values, config)
    return found | {name: np.stack(each) for name, each in experts.items()}


@pytest.fixture
def written(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Any, dict[str, np.ndarray]]:
    theirs = write_model(tmp_path / "directory", CONFIGS[request.param])
    return theirs, tensors_of(tmp_path / "directory", theirs.config)


@pytest.mark.parametrize(("written", "name"), [(name, name) for name in ARCHITECTURES], indirect=["written"])
def test_logits_are_those_of_transformers(tmp_path: Path, written: Any, name: str) -> None:
    theirs, tensors = written
    write_gguf(tmp_path / "model.gguf", name, theirs.config, tensors)
    found = nearlight.load(tmp_path / "model.gguf", kv="f32")
    assert not [warning for warning in found.package.warnings if "not used" in warning]
    assert relative_error(found.logits(IDS), transformers_logits(theirs, IDS)) <= 1e-5


@pytest.mark.parametrize(
    ("written", "changed", "message"),
    [
        ("lfm2_moe", {"attention.head_count_kv": [0, 2]}, r"head_count_kv': expected 3 whole numbers, one for each"),
        ("lfm2_moe", {"attention.head_count_kv": [0, -2, 0]}, r"head_count_kv': expected 3 whole numbers"),
        ("lfm2_moe", {"attention.head_count_kv": [2, 1, 0]}, r"head_count_kv' differs from layer to layer"),
        ("lfm2_moe", {"attention.head_count_kv": [2, 2, 0]}, r"layers\.0\.self_attn\.q_proj\.weight is missing"),
        ("lfm2_moe", {"shortconv.l_cache": 9}, r"conv\.conv\.weight: expected \[36, 1, 9\], by its config, found"),
        ("lfm2_moe", {"expert_used_count": 6}, r"num_experts_per_tok: expected at most 5, found 6"),
        (
            "lfm2_moe",
            {"expert_count": 4},
            r"gate\.weight: expected \[4, 36\], by its config, found \[5, 36\]",
        ),
        ("nemotron_h", {"feed_forward_length": [0] * 5}, r"feed_forward_length': expected 6 whole numbers"),
        ("nemotron_h", {"feed_forward_length": [0] * 6}, r"layers\.1\.mixer\.in_proj\.weight is missing"),
        ("nemotron_h", {"ssm.group_count": 4}, r"mamba_num_heads: expected a multiple of n_groups \(4\), found 6"),
        ("nemotron_h", {"ssm.time_step_rank": 5}, r"mamba_num_heads: expected a multiple of n_groups \(3\), found 5"),
    ],
    indirect=["written"],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_layers_are_said_to_be_and_are_not(
    tmp_path: Path, written: Any, changed: dict[str, Any], message: str
) -> None:
    theirs, tensors = written
    name = theirs.config.model_type
    write_gguf(tmp_path / "model.gguf", name, theirs.config, tensors, **changed)
    with pytest.raises((PackageError, UnsupportedError), match=message) as caught:
        nearlight.load(tmp_path / "model.gguf")
    assert "\n" not in str(caught.value)
