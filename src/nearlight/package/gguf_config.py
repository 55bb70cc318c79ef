"""Metadata of a GGUF file as the config and generation defaults of a Hugging Face package.

One entry per architecture string in `ARCHITECTURES`, for families that can be planned too. Of any other the sizes are
read as far as they are there, and its tensors keep their names, so that a person can look into the file. Unlike hub
configs, the result names every size, because GGUF's own defaults need not be the family's.

Source: docs/formats.md sections 5.4 and 8; gguf package, constants.py; llama.cpp's defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nearlight import formats
from nearlight.errors import PackageError, UnsupportedError
from nearlight.package import gguf_hybrids as hybrids
from nearlight.package.gguf_metadata import Metadata
from nearlight.package.gguf_names import (
    DECODER,
    FALCON_H1,
    GEMMA,
    GEMMA4,
    GLM4,
    GLM4_MOE,
    GPT2,
    GPT_OSS,
    GRANITE_MOE,
    LFM2,
    LLAMA4,
    MAMBA,
    MAMBA2,
    MIXTRAL,
    NEMOTRON_H,
    OLMO2,
    PHI3,
    QWEN3_MOE,
    QWEN3_NEXT,
    UNKNOWN,
    Names,
)
from nearlight.package.tensors import StoredTensor

MAX_LAYERS = 10_000

Tensors = Mapping[str, StoredTensor]


def read_config(metadata: Metadata, tensors: Tensors) -> tuple[dict[str, Any], Architecture]:
    """Return the config under Hugging Face keys, and the architecture it was read by.

    Shapes: tensors under GGUF names.
    Raises: PackageError for missing or senseless keys; UnsupportedError for what is known to be out of reach.
    """
    name = metadata.text("general.architecture")
    architecture = ARCHITECTURES.get(name) or Architecture(name, _unknown_config, UNKNOWN)
    if name == "llama" and metadata.integer("llama.expert_count", 0) > 0:
        architecture = Architecture("mixtral", _decoder_config, MIXTRAL, permuted=True)
    return {"model_type": architecture.model_type, **architecture.config(metadata, name, tensors)}, architecture


def _decoder_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Read what decoders with attention and rotation have in common."""
    size = _sizes(metadata, architecture)
    n_heads = size("attention.head_count")
    n_kv_heads = size("attention.head_count_kv", n_heads)
    hidden_size = size("embedding_length")
    head_dim = size("attention.key_length", hidden_size // n_heads)
    value_dim = size("attention.value_length", head_dim)
    if value_dim != head_dim:
        where, expected = metadata.path, f"{head_dim}, the key_length"
        raise UnsupportedError(
            f"{architecture}.attention.value_length", where=where, expected=expected, found=value_dim
        )
    expert_size = (
        metadata.integer(f"{architecture}.expert_feed_forward_length", 0) or None
    )  # where all layers have some
    config = {
        "hidden_size": hidden_size,
        "intermediate_size": size("feed_forward_length", expert_size),  # left out where all layers have experts
        "num_hidden_layers": size("block_count", most=MAX_LAYERS),
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv_heads,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": metadata.number(f"{architecture}.attention.layer_norm_rms_epsilon", above=0),
        "max_position_embeddings": size("context_length"),
        "vocab_size": _vocab_size(metadata, architecture, tensors),
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": hybrids.has(tensors, "attn_q.bias") or hybrids.has(tensors, "attn_qkv.bias"),
        "mlp_bias": hybrids.has(tensors, "ffn_gate.bias"),
        "rope_parameters": _rope_parameters(metadata, architecture, tensors, head_dim),
    }
    window = metadata.integer(f"{architecture}.attention.sliding_window", 0)
    if window:
        config |= {"sliding_window": window, "use_sliding_window": True}
    n_experts = metadata.integer(f"{architecture}.expert_count", 0)
    if n_experts:
        config |= {"num_experts": n_experts, "num_local_experts": n_experts, "norm_topk_prob": True}
        config["num_experts_per_tok"] = size("expert_used_count")
        config["moe_intermediate_size"] = size("expert_feed_forward_length", config["intermediate_size"])
    return config


def _gemma_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Gemma 2 and 3: two rotations, caps, and a scale of scores that only the largest models of either do not have from
    their heads' size.
    """
    config = _decoder_config(metadata, architecture, tensors)
    hidden_per_head = config["hidden_size"] // config["num_attention_heads"]
    largest = config["num_hidden_layers"] == {"gemma2": 46, "gemma3": 62}.get(architecture)
    full = config["rope_parameters"]
    theta = metadata.number(f"{architecture}.rope.freq_base_swa", 10_000.0, above=0)
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        cap = metadata.number(f"{architecture}.{key}", 0.0)
        config[key] = cap if cap > 0 else None
    return config | {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": hidden_per_head if largest else config["head_dim"],
        "rope_parameters": {
            "full_attention": full,
            "sliding_attention": {"rope_type": "default", "rope_theta": theta},
        },
    }


def _gpt_oss_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Of its rotation files do not say that the ends of the ramp are not rounded."""
    config = _decoder_config(metadata, architecture, tensors)
    return config | {"rope_parameters": {**config["rope_parameters"], "truncate": False}}


def _phi3_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Models for long texts have two tensors of divisors, and no key that says so."""
    config = _decoder_config(metadata, architecture, tensors)
    if "rope_factors_long.weight" not in tensors:
        return config
    prefix, rope, trained = (
        f"{architecture}.rope.scaling.",
        config["rope_parameters"],
        config["max_position_embeddings"],
    )
    n_rotated = metadata.integer(f"{architecture}.rope.dimension_count", config["head_dim"], least=1)
    factors = {}
    for which in ("short", "long"):
        name = f"rope_factors_{which}.weight"
        if name not in tensors:
            raise PackageError(f"tensor '{name}' is missing", where=metadata.path)
        factors[f"{which}_factor"] = _divisors(metadata.path, tensors[name], n_rotated)
    return config | {
        "rope_parameters": {
            **rope,
            **factors,
            "rope_type": "longrope",
            "attention_factor": metadata.number(prefix + "attn_factor", 1.0, above=0),
        },
        "original_max_position_embeddings": metadata.integer(prefix + "original_context_length", trained, least=1),
    }


def _mistral3_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Ministral 3, and Mistral models of its time, whose queries do not grow."""
    config = _decoder_config(metadata, architecture, tensors)
    strength = metadata.number(f"{architecture}.attention.temperature_scale", 0.0)
    sharpness = metadata.number(f"{architecture}.rope.scaling.yarn_log_multiplier", 0.0)
    more = {"llama_4_scaling_beta": strength} if strength else {}
    if sharpness:
        more |= {"mscale": 1.0, "mscale_all_dim": sharpness}
    return config | {"rope_parameters": {**config["rope_parameters"], **more}}


def _llama4_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Files do not say how large chunks are, and the number of experts tells whether heads are normed.

    A window of 0 is of models without chunks, all of whose layers rotate.
    """
    n_experts = metadata.integer(f"{architecture}.expert_count", least=1)
    config = _decoder_config(metadata, architecture, tensors)
    found: dict[str, Any] = {
        "use_qk_norm": n_experts != 128,
        "intermediate_size_mlp": config["intermediate_size"],
        "intermediate_size": config["moe_intermediate_size"],
        "interleave_moe_layer_step": metadata.integer(f"{architecture}.interleave_moe_layer_step", 1, least=1),
    }
    if metadata.integer(f"{architecture}.attention.sliding_window", 1, least=0) == 0:
        n_layers = config["num_hidden_layers"]
        found |= {"layer_types": [FULL] * n_layers, "no_rope_layers": [1] * n_layers}
    return config | found


def _glm4_moe_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """The last blocks predict further tokens, and are no layers of the model."""
    config = _decoder_config(metadata, architecture, tensors)
    n_ahead = metadata.integer(f"{architecture}.nextn_predict_layers", 0, least=0)
    return config | {
        "num_hidden_layers": max(config["num_hidden_layers"] - n_ahead, 1),
        "n_routed_experts": config["num_experts"],
        "n_shared_experts": metadata.integer(f"{architecture}.expert_shared_count", 1, least=1),
        "n_group": metadata.integer(f"{architecture}.expert_group_count", 0, least=0) or 1,
        "topk_group": metadata.integer(f"{architecture}.expert_group_used_count", 0, least=0) or 1,
        "first_k_dense_replace": metadata.integer(f"{architecture}.leading_dense_block_count", 0, least=0),
        "norm_topk_prob": bool(metadata.values.get(f"{architecture}.expert_weights_norm", False)),
        "routed_scaling_factor": metadata.number(f"{architecture}.expert_weights_scale", 0.0) or 1.0,
        "use_qk_norm": "blk.0.attn_q_norm.weight" in tensors,
    }


def _qwen3_next_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Of Qwen3-Next's projections only the gates lie together; in Qwen3.5's files heads of values are tiled over those
    of keys. The last blocks may predict further tokens, and are no layers of the model.
    """
    size = _sizes(metadata, architecture)
    config = _decoder_config(metadata, architecture, tensors)
    n_ahead = metadata.integer(f"{architecture}.nextn_predict_layers", 0, least=0)
    n_layers = max(config["num_hidden_layers"] - n_ahead, 1)
    recurrent = metadata.numbers(f"{architecture}.attention.recurrent_layers")
    if recurrent:
        config["layer_types"] = [LINEAR if linear else FULL for linear in recurrent[:n_layers]]
    n_heads, n_key_heads = size("ssm.time_step_rank"), size("ssm.group_count")
    return config | {
        "num_hidden_layers": n_layers,
        "full_attention_interval": size("full_attention_interval", 4),
        "linear_num_key_heads": n_key_heads,
        "linear_num_value_heads": n_heads,
        "linear_key_head_dim": size("ssm.state_size"),
        "linear_value_head_dim": max(size("ssm.inner_size") // n_heads, 1),
        "linear_conv_kernel_dim": size("ssm.conv_kernel"),
        "linear_gates_alone": architecture == "qwen3next",
        "linear_heads_tiled": architecture != "qwen3next",
        "shared_expert_intermediate_size": size("expert_shared_feed_forward_length", config["intermediate_size"]),
    }


def _olmo_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """OLMo 3's files are of the same architecture, and have a window."""
    config = _decoder_config(metadata, architecture, tensors)
    if f"{architecture}.attention.sliding_window_pattern" not in metadata:
        return config
    theta = metadata.number(f"{architecture}.rope.freq_base_swa", config["rope_parameters"]["rope_theta"], above=0)
    return config | {
        "model_type": "olmo3",
        "layer_types": _kinds_by_pattern(metadata, architecture, config["num_hidden_layers"]),
        "rope_parameters": {
            FULL: config["rope_parameters"],
            SLIDING: {"rope_type": "default", "rope_theta": theta},
        },
    }


def _gemma4_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Layers without a window have heads of their own size, and those that share keys and values may have wider MLPs.

    That values are made of keys is seen by the matrix that is missing.
    """
    n_layers = _sizes(metadata, architecture)("block_count", most=MAX_LAYERS)
    n_shared = metadata.integer(f"{architecture}.attention.shared_kv_layers", 0, most=n_layers)
    kinds = _kinds_by_pattern(metadata, architecture, n_layers)
    kinds[-1] = FULL  # whatever is said of it
    widths = metadata.by_layer(f"{architecture}.feed_forward_length", n_layers)
    heads = metadata.by_layer(f"{architecture}.attention.head_count_kv", n_layers)
    wide = n_shared > 0 and widths[-1] == 2 * widths[0]
    by_kind = dict(zip(kinds, heads, strict=True))
    if [widths[0]] * (n_layers - n_shared) + [(1 + wide) * widths[0]] * n_shared != widths:
        expected = "one width, or twice that in the layers that share keys and values"
        raise UnsupportedError(
            f"{architecture}.feed_forward_length", where=metadata.path, expected=expected, found=str(widths)[:60]
        )
    if [by_kind[kind] for kind in kinds] != heads:
        expected = "one number for each kind of layer"
        raise UnsupportedError(
            f"{architecture}.attention.head_count_kv", where=metadata.path, expected=expected, found=str(heads)[:60]
        )
    uniform = {"feed_forward_length": widths[0], "attention.head_count_kv": by_kind[FULL]}
    plain = metadata.replacing({f"{architecture}.{key}": value for key, value in uniform.items()})
    config = _decoder_config(plain, architecture, tensors)
    size, full = _sizes(metadata, architecture), kinds.index(FULL)
    cap = metadata.number(f"{architecture}.final_logit_softcapping", 0.0)
    theta = metadata.number(f"{architecture}.rope.freq_base_swa", 10_000.0, above=0)
    table = tensors.get("per_layer_token_embd.weight")
    return config | {
        "hidden_activation": "gelu_pytorch_tanh",
        "final_logit_softcapping": cap if cap > 0 else None,
        "layer_types": kinds,
        "head_dim": size("attention.key_length_swa", config["head_dim"]),
        "global_head_dim": config["head_dim"],
        "num_key_value_heads": by_kind.get(SLIDING, by_kind[FULL]),
        "num_global_key_value_heads": by_kind[FULL],
        "attention_k_eq_v": f"blk.{full}.attn_v.weight" not in tensors,
        "num_kv_shared_layers": n_shared,
        "use_double_wide_mlp": wide,
        "hidden_size_per_layer_input": metadata.integer(f"{architecture}.embedding_length_per_layer_input", 0),
        "vocab_size_per_layer_input": table.shape[0] if table and table.shape else config["vocab_size"],
        "enable_moe_block": "num_experts" in config,
        "top_k_experts": config.get("num_experts_per_tok"),
        "rope_parameters": {
            FULL: config["rope_parameters"],
            SLIDING: {"rope_type": "default", "rope_theta": theta},
        },
    }


def _kinds_by_pattern(metadata: Metadata, architecture: str, n_layers: int) -> list[str]:
    """Read which layers have a window."""
    flags = metadata.flags(f"{architecture}.attention.sliding_window_pattern", n_layers)
    return [SLIDING if slides else FULL for slides in flags]


FULL, SLIDING, LINEAR = "full_attention", "sliding_attention", "linear_attention"


def _granite_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    config = _decoder_config(metadata, architecture, tensors)
    keys = {
        "attention_multiplier": "attention.scale",
        "embedding_multiplier": "embedding_scale",
        "residual_multiplier": "residual_scale",
        "logits_scaling": "logit_scale",
    }
    for ours, key in keys.items():
        factor = metadata.number(f"{architecture}.{key}", 0.0)
        if factor:
            config[ours] = factor
    return {"attention_multiplier": config["head_dim"] ** -0.5, **config}


def _granite_moe_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Those with a shared expert are of another family, which also has recurrences."""
    if "blk.0.ffn_up_shexp.weight" not in tensors:
        return _granite_config(metadata, architecture, tensors)
    return _granite_hybrid_config(metadata, architecture, tensors) | {"model_type": "granitemoehybrid"}


def _granite_hybrid_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    config = _granite_config(hybrids.uniform(metadata, architecture), architecture, tensors)
    return config | hybrids.granite(metadata, architecture, tensors, config)


def _lfm2_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    config = _decoder_config(hybrids.uniform(metadata, architecture), architecture, tensors)
    return config | hybrids.lfm2(metadata, architecture, tensors, config)


def _falcon_h1_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    config = _decoder_config(metadata, architecture, tensors)
    return config | hybrids.falcon_h1(metadata, architecture, tensors, config)


def _nemotron_h_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Its norms are others' by another key, and its attention has no rotation that a size in the file could be of."""
    values = dict(hybrids.uniform(metadata, architecture).values)
    values.pop(f"{architecture}.rope.dimension_count", None)
    usual = f"{architecture}.attention.layer_norm_rms_epsilon"
    values[usual] = metadata.number(f"{architecture}.attention.layer_norm_epsilon", values.get(usual), above=0)
    config = _decoder_config(replace(metadata, values=values), architecture, tensors)
    return config | hybrids.nemotron_h(metadata, architecture, tensors, config)


def _olmoe_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    return _decoder_config(metadata, architecture, tensors) | {"norm_topk_prob": False}


def _unknown_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Read the sizes that most architectures have, where a file has them and they are plain numbers."""
    values = {key: metadata.values.get(f"{architecture}.{name}") for key, name in _USUAL_SIZES.items()}
    return {key: value for key, value in values.items() if type(value) is int}


_USUAL_SIZES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "max_position_embeddings": "context_length",
}


def _gpt2_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    size = _sizes(metadata, architecture)
    return {
        "n_embd": size("embedding_length"),
        "n_layer": size("block_count", most=MAX_LAYERS),
        "n_head": size("attention.head_count"),
        "n_positions": size("context_length"),
        "n_inner": size("feed_forward_length"),
        "vocab_size": _vocab_size(metadata, architecture, tensors),
        "layer_norm_epsilon": metadata.number(f"{architecture}.attention.layer_norm_epsilon", above=0),
        "activation_function": "gelu_new",
        "tie_word_embeddings": "output.weight" not in tensors,
    }


def _mamba_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Read what mamba and mamba2 have; there the rank of the steps is the number of heads."""
    size = _sizes(metadata, architecture)
    inner_size, rank = size("ssm.inner_size"), size("ssm.time_step_rank")
    config = {
        "hidden_size": size("embedding_length"),
        "num_hidden_layers": size("block_count", most=MAX_LAYERS),
        "intermediate_size": inner_size,
        "state_size": size("ssm.state_size"),
        "conv_kernel": size("ssm.conv_kernel"),
        "layer_norm_epsilon": metadata.number(f"{architecture}.attention.layer_norm_rms_epsilon", above=0),
        "vocab_size": _vocab_size(metadata, architecture, tensors),
        "tie_word_embeddings": "output.weight" not in tensors,
        "use_bias": "blk.0.ssm_in.bias" in tensors,
        "use_conv_bias": "blk.0.ssm_conv1d.bias" in tensors,
    }
    if architecture == "mamba2":
        heads = {"num_heads": rank, "head_dim": max(inner_size // rank, 1), "n_groups": size("ssm.group_count")}
        return config | heads
    if metadata.values.get(f"{architecture}.ssm.dt_b_c_rms"):
        where = metadata.path
        raise UnsupportedError(f"{architecture}.ssm.dt_b_c_rms", where=where, expected="false", found="FalconMamba")
    return config | {"time_step_rank": rank}


@dataclass(frozen=True)
class Architecture:
    """How files of one `general.architecture` become a Hugging Face model of `model_type`.

    `permuted`: q and k rows are stored in interleaved rotary order.
    """

    model_type: str
    config: Callable[[Metadata, str, Tensors], dict[str, Any]]
    names: Names
    permuted: bool = False


ARCHITECTURES = {
    "llama": Architecture("llama", _decoder_config, DECODER, permuted=True),
    "qwen2": Architecture("qwen2", _decoder_config, DECODER),
    "qwen3": Architecture("qwen3", _decoder_config, DECODER),
    "gpt2": Architecture("gpt2", _gpt2_config, GPT2),
    "falcon-h1": Architecture("falcon_h1", _falcon_h1_config, FALCON_H1),
    "gemma2": Architecture("gemma2", _gemma_config, GEMMA),
    "gemma3": Architecture("gemma3_text", _gemma_config, GEMMA),
    "gemma4": Architecture("gemma4_text", _gemma4_config, GEMMA4),
    "glm4": Architecture("glm4", _decoder_config, GLM4),
    "glm4moe": Architecture("glm4_moe", _glm4_moe_config, GLM4_MOE),
    "gpt-oss": Architecture("gpt_oss", _gpt_oss_config, GPT_OSS),
    "granite": Architecture("granite", _granite_config, DECODER, permuted=True),
    "granitehybrid": Architecture("granitemoehybrid", _granite_hybrid_config, GRANITE_MOE, permuted=True),
    "granitemoe": Architecture("granitemoe", _granite_moe_config, GRANITE_MOE, permuted=True),
    "lfm2": Architecture("lfm2", _lfm2_config, LFM2),
    "lfm2moe": Architecture("lfm2_moe", _lfm2_config, LFM2),
    "llama4": Architecture("llama4_text", _llama4_config, LLAMA4),
    "mamba": Architecture("mamba", _mamba_config, MAMBA),
    "mamba2": Architecture("mamba2", _mamba_config, MAMBA2),
    "mistral3": Architecture("ministral3", _mistral3_config, DECODER, permuted=True),
    "nemotron_h": Architecture("nemotron_h", _nemotron_h_config, NEMOTRON_H, permuted=True),
    "nemotron_h_moe": Architecture("nemotron_h", _nemotron_h_config, NEMOTRON_H, permuted=True),
    "olmoe": Architecture("olmoe", _olmoe_config, QWEN3_MOE),
    "olmo2": Architecture("olmo2", _olmo_config, OLMO2),
    "phi3": Architecture("phi3", _phi3_config, PHI3),
    "qwen3next": Architecture("qwen3_next", _qwen3_next_config, QWEN3_NEXT),
    "qwen35": Architecture("qwen3_5_text", _qwen3_next_config, QWEN3_NEXT),
    "qwen35moe": Architecture("qwen3_5_moe_text", _qwen3_next_config, QWEN3_NEXT),
    "qwen3moe": Architecture("qwen3_moe", _decoder_config, QWEN3_MOE),
    "smollm3": Architecture("smollm3", _decoder_config, DECODER, permuted=True),
}


def _sizes(metadata: Metadata, architecture: str) -> Callable[..., int]:
    """Return a reader of the architecture's keys that accepts positive sizes only."""

    def size(key: str, default: int | None = None, most: int = 2**31 - 1) -> int:
        return metadata.integer(f"{architecture}.{key}", default, least=1, most=most)

    return size


def _vocab_size(metadata: Metadata, architecture: str, tensors: Tensors) -> int:
    """Prefer the embedding's rows: they are what logits have, and padding may have added some."""
    embedding = tensors.get("token_embd.weight")
    if embedding is not None and embedding.shape:
        return embedding.shape[0]
    return metadata.integer(f"{architecture}.vocab_size", len(metadata.texts("tokenizer.ggml.tokens")))


def _rope_parameters(metadata: Metadata, architecture: str, tensors: Tensors, head_dim: int) -> dict[str, Any]:
    prefix = f"{architecture}.rope."
    theta = metadata.number(prefix + "freq_base", 10_000.0, above=0)
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    n_rotated = metadata.integer(prefix + "dimension_count", head_dim, least=1, most=head_dim)
    if n_rotated != head_dim:
        rope["partial_rotary_factor"] = n_rotated / head_dim
    if "rope_freqs.weight" in tensors:
        divisors = _divisors(metadata.path, tensors["rope_freqs.weight"], n_rotated)
        return rope | {"rope_type": "divisors", "divisors": divisors}
    factor = metadata.number(prefix + "scaling.factor", metadata.number(prefix + "scale_linear", 0.0))
    kind = metadata.text(prefix + "scaling.type", "linear" if factor else "none")
    if kind == "none" or (kind == "linear" and factor in (0, 1)):
        return rope
    if kind == "linear":
        return rope | {"rope_type": "linear", "factor": factor}
    if kind == "yarn":
        return rope | _yarn(metadata, architecture, factor)
    raise UnsupportedError(
        prefix + "scaling.type", where=metadata.path, expected="none, linear or yarn", found=kind[:40]
    )


def _yarn(metadata: Metadata, architecture: str, factor: float) -> dict[str, Any]:
    prefix = f"{architecture}.rope.scaling."
    if factor <= 0:
        raise PackageError(prefix + "factor", where=metadata.path, expected="a number above 0", found=factor)
    context_length = metadata.integer(f"{architecture}.context_length")
    original = metadata.integer(prefix + "original_context_length", context_length, least=1)
    yarn = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    for key, ours in (("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")):
        if prefix + key in metadata:
            yarn[ours] = metadata.number(prefix + key)
    # GGUF's factor multiplies the usual magnitude; Hugging Face's replaces it.
    multiplier = metadata.number(prefix + "attn_factor", metadata.number(prefix + "yarn_attn_factor", 1.0))
    if multiplier != 1:
        yarn["attention_factor"] = multiplier * (0.1 * math.log(factor) + 1 if factor > 1 else 1)
    return yarn


def _divisors(path: Path, tensor: StoredTensor, n_rotated: int) -> list[float]:
    """Read what each rotary frequency is to be divided by, the form in which llama 3's scaling and longrope survive."""
    if tensor.shape != (n_rotated // 2,):
        expected, found = [n_rotated // 2], list(tensor.shape)
        raise PackageError(f"shape of tensor '{tensor.name}'", where=path, expected=expected, found=found)
    divisors = formats.dequantize(tensor.format, tensor.read(), tensor.row_length)[0]
    if not (np.isfinite(divisors).all() and (divisors > 0).all()):
        raise PackageError(f"tensor '{tensor.name}'", where=path, expected="finite numbers above 0")
    return [float(divisor) for divisor in divisors]
