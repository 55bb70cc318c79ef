"""The config under Hugging Face keys of each architecture's GGUF files, beyond what all decoders have.

Source: docs/formats.md sections 5.4 and 7; llama.cpp's converter and defaults.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nearlight.errors import PackageError, UnsupportedError
from nearlight.package import gguf_hybrids as hybrids
from nearlight.package.gguf_decoder import (
    FULL,
    LINEAR,
    MAX_LAYERS,
    SLIDING,
    Tensors,
    decoder_config,
    divisors_of,
    routing,
    sizes,
    vocab_size,
)
from nearlight.package.gguf_metadata import Metadata


def gemma(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Gemma 2 and 3: two rotations, caps, and a scale of scores that only the largest models of either do not have from
    their heads' size.
    """
    config = decoder_config(metadata, architecture, tensors)
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


def gpt_oss(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Of its rotation files do not say that the ends of the ramp are not rounded."""
    config = decoder_config(metadata, architecture, tensors)
    return config | {"rope_parameters": {**config["rope_parameters"], "truncate": False}}


def phi3(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Models for long texts have two tensors of divisors, and no key that says so."""
    config = decoder_config(metadata, architecture, tensors)
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
        factors[f"{which}_factor"] = divisors_of(metadata.path, tensors[name], n_rotated)
    return config | {
        "rope_parameters": {
            **rope,
            **factors,
            "rope_type": "longrope",
            "attention_factor": metadata.number(prefix + "attn_factor", 1.0, above=0),
        },
        "original_max_position_embeddings": metadata.integer(prefix + "original_context_length", trained, least=1),
    }


def mistral3(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Ministral 3, and Mistral models of its time, whose queries do not grow."""
    config = decoder_config(metadata, architecture, tensors)
    strength = metadata.number(f"{architecture}.attention.temperature_scale", 0.0)
    sharpness = metadata.number(f"{architecture}.rope.scaling.yarn_log_multiplier", 0.0)
    more = {"llama_4_scaling_beta": strength} if strength else {}
    if sharpness:
        more |= {"mscale": 1.0, "mscale_all_dim": sharpness}
    return config | {"rope_parameters": {**config["rope_parameters"], **more}}


def llama4(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Files do not say how large chunks are, and the number of experts tells whether heads are normed.

    A window of 0 is of models without chunks, all of whose layers rotate.
    """
    n_experts = metadata.integer(f"{architecture}.expert_count", least=1)
    config = decoder_config(metadata, architecture, tensors)
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


def glm4_moe(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """The last blocks predict further tokens, and are no layers of the model."""
    config = decoder_config(metadata, architecture, tensors)
    n_ahead = metadata.integer(f"{architecture}.nextn_predict_layers", 0, least=0)
    return config | {
        "num_hidden_layers": max(config["num_hidden_layers"] - n_ahead, 1),
        "n_routed_experts": config["num_experts"],
        "n_shared_experts": metadata.integer(f"{architecture}.expert_shared_count", 1, least=1),
        "first_k_dense_replace": metadata.integer(f"{architecture}.leading_dense_block_count", 0, least=0),
        "use_qk_norm": "blk.0.attn_q_norm.weight" in tensors,
        **routing(metadata, architecture),
    }


def qwen3_next(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Of Qwen3-Next's projections only the gates lie together; in Qwen3.5's files heads of values are tiled over those
    of keys. The last blocks may predict further tokens, and are no layers of the model.
    """
    size = sizes(metadata, architecture)
    config = decoder_config(metadata, architecture, tensors)
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


def olmo(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """OLMo 3's files are of the same architecture, and have a window."""
    config = decoder_config(metadata, architecture, tensors)
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


def gemma4(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Layers without a window have heads of their own size, and those that share keys and values may have wider MLPs.

    That values are made of keys is seen by the matrix that is missing.
    """
    n_layers = sizes(metadata, architecture)("block_count", most=MAX_LAYERS)
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
    config = decoder_config(plain, architecture, tensors)
    size, full = sizes(metadata, architecture), kinds.index(FULL)
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


def granite(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    config = decoder_config(metadata, architecture, tensors)
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


def granite_moe(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Those with a shared expert are of another family, which also has recurrences."""
    if "blk.0.ffn_up_shexp.weight" not in tensors:
        return granite(metadata, architecture, tensors)
    return granite_hybrid(metadata, architecture, tensors) | {"model_type": "granitemoehybrid"}


def granite_hybrid(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    config = granite(hybrids.uniform(metadata, architecture), architecture, tensors)
    return config | hybrids.granite(metadata, architecture, tensors, config)


def lfm2(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    config = decoder_config(hybrids.uniform(metadata, architecture), architecture, tensors)
    return config | hybrids.lfm2(metadata, architecture, tensors, config)


def falcon_h1(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    config = decoder_config(metadata, architecture, tensors)
    return config | hybrids.falcon_h1(metadata, architecture, tensors, config)


def nemotron_h(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Its norms are others' by another key, and its attention has no rotation that a size in the file could be of."""
    values = dict(hybrids.uniform(metadata, architecture).values)
    values.pop(f"{architecture}.rope.dimension_count", None)
    usual = f"{architecture}.attention.layer_norm_rms_epsilon"
    values[usual] = metadata.number(f"{architecture}.attention.layer_norm_epsilon", values.get(usual), above=0)
    config = decoder_config(replace(metadata, values=values), architecture, tensors)
    return config | hybrids.nemotron_h(metadata, architecture, tensors, config)


def olmoe(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    return decoder_config(metadata, architecture, tensors) | {"norm_topk_prob": False}


def unknown(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
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


def gpt2(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    size = sizes(metadata, architecture)
    return {
        "n_embd": size("embedding_length"),
        "n_layer": size("block_count", most=MAX_LAYERS),
        "n_head": size("attention.head_count"),
        "n_positions": size("context_length"),
        "n_inner": size("feed_forward_length"),
        "vocab_size": vocab_size(metadata, architecture, tensors),
        "layer_norm_epsilon": metadata.number(f"{architecture}.attention.layer_norm_epsilon", above=0),
        "activation_function": "gelu_new",
        "tie_word_embeddings": "output.weight" not in tensors,
    }


def mamba(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Read what mamba and mamba2 have; there the rank of the steps is the number of heads."""
    size = sizes(metadata, architecture)
    inner_size, rank = size("ssm.inner_size"), size("ssm.time_step_rank")
    config = {
        "hidden_size": size("embedding_length"),
        "num_hidden_layers": size("block_count", most=MAX_LAYERS),
        "intermediate_size": inner_size,
        "state_size": size("ssm.state_size"),
        "conv_kernel": size("ssm.conv_kernel"),
        "layer_norm_epsilon": metadata.number(f"{architecture}.attention.layer_norm_rms_epsilon", above=0),
        "vocab_size": vocab_size(metadata, architecture, tensors),
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
