"""What GGUF files of most architectures have in common: a decoder's sizes, its rotation, how its experts are chosen.

Source: docs/formats.md sections 5.4 and 8; gguf package, constants.py; llama.cpp's defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nearlight import formats
from nearlight.errors import PackageError, UnsupportedError
from nearlight.package.gguf_metadata import Metadata
from nearlight.package.tensors import StoredTensor

MAX_LAYERS = 10_000

FULL, SLIDING, LINEAR = "full_attention", "sliding_attention", "linear_attention"

Tensors = Mapping[str, StoredTensor]


def has(tensors: Tensors, name: str) -> bool:
    """Whether some layer has a tensor of this name."""
    return any(found.endswith(f".{name}") for found in tensors)


def decoder_config(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    """Read what decoders with attention and rotation have in common."""
    size = sizes(metadata, architecture)
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
        "vocab_size": vocab_size(metadata, architecture, tensors),
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": has(tensors, "attn_q.bias") or has(tensors, "attn_qkv.bias"),
        "mlp_bias": has(tensors, "ffn_gate.bias"),
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


def routing(metadata: Metadata, architecture: str) -> dict[str, Any]:
    """Read how sigmoids of scores choose experts and weigh them."""
    return {
        "n_group": metadata.integer(f"{architecture}.expert_group_count", 0) or 1,
        "topk_group": metadata.integer(f"{architecture}.expert_group_used_count", 0) or 1,
        "norm_topk_prob": bool(metadata.values.get(f"{architecture}.expert_weights_norm", False)),
        "routed_scaling_factor": metadata.number(f"{architecture}.expert_weights_scale", 0.0) or 1.0,
    }


def sizes(metadata: Metadata, architecture: str) -> Callable[..., int]:
    """Return a reader of the architecture's keys that accepts positive sizes only."""

    def size(key: str, default: int | None = None, most: int = 2**31 - 1) -> int:
        return metadata.integer(f"{architecture}.{key}", default, least=1, most=most)

    return size


def vocab_size(metadata: Metadata, architecture: str, tensors: Tensors) -> int:
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
        divisors = divisors_of(metadata.path, tensors["rope_freqs.weight"], n_rotated)
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


def divisors_of(path: Path, tensor: StoredTensor, n_rotated: int) -> list[float]:
    """Read what each rotary frequency is to be divided by, the form in which llama 3's scaling and longrope survive."""
    if tensor.shape != (n_rotated // 2,):
        expected, found = [n_rotated // 2], list(tensor.shape)
        raise PackageError(f"shape of tensor '{tensor.name}'", where=path, expected=expected, found=found)
    divisors = formats.dequantize(tensor.format, tensor.read(), tensor.row_length)[0]
    if not (np.isfinite(divisors).all() and (divisors > 0).all()):
        raise PackageError(f"tensor '{tensor.name}'", where=path, expected="finite numbers above 0")
    return [float(divisor) for divisor in divisors]
