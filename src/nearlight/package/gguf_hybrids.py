"""Metadata of GGUF files of hybrids, whose layers are of several kinds: a number for each layer tells which.

No key names the kinds. A layer without key heads is no attention layer, one without a width of an MLP has no MLP.
What is here is added to the config of a decoder, which is read as if all layers had what some have.

Source: docs/formats.md section 5.7; llama.cpp's converter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nearlight.errors import PackageError, UnsupportedError
from nearlight.package.gguf_decoder import Tensors, has, routing
from nearlight.package.gguf_metadata import Metadata

_BY_LAYER = ("attention.head_count_kv", "feed_forward_length")


def uniform(metadata: Metadata, architecture: str) -> Metadata:
    """Return the metadata as if every layer had the key heads, and the MLP, that only some have.

    Raises: UnsupportedError where those that have them differ.
    """
    values = dict(metadata.values)
    for key in (f"{architecture}.{name}" for name in _BY_LAYER):
        sizes = {size for size in by_layer(metadata, key) if size}
        if len(sizes) > 1:
            raise UnsupportedError(f"metadata '{key}' differs from layer to layer", where=metadata.path)
        values[key] = sizes.pop() if sizes else 1  # which no layer asks for
    return replace(metadata, values=values)


def by_layer(metadata: Metadata, key: str) -> list[int]:
    """Read a number for each layer, or one for all. Raises: PackageError for more or fewer of them than layers."""
    n_layers = metadata.integer(f"{key.partition('.')[0]}.block_count", least=1, most=10_000)
    return metadata.by_layer(key, n_layers)


def lfm2(metadata: Metadata, architecture: str, tensors: Tensors, decoder: Mapping[str, Any]) -> dict[str, Any]:
    heads = by_layer(metadata, f"{architecture}.attention.head_count_kv")
    return {
        "layer_types": ["full_attention" if n else "conv" for n in heads],
        "norm_eps": decoder["rms_norm_eps"],
        "conv_L_cache": metadata.integer(f"{architecture}.shortconv.l_cache", least=1),
        "conv_bias": has(tensors, "shortconv.in_proj.bias"),
        "block_auto_adjust_ff_dim": False,  # the width of MLPs is as it is
        "num_dense_layers": metadata.integer(f"{architecture}.leading_dense_block_count", 0),
        "use_expert_bias": has(tensors, "exp_probs_b.bias"),
        "routed_scaling_factor": _scale(metadata, architecture),
    }


def falcon_h1(metadata: Metadata, architecture: str, tensors: Tensors, decoder: Mapping[str, Any]) -> dict[str, Any]:
    """Read Falcon-H1's sizes; its factors are in the weights already."""
    inner = _size(metadata, architecture, "ssm.inner_size")
    return _mamba(metadata, architecture, tensors) | {
        "mamba_d_ssm": inner,
        "mamba_rms_norm": has(tensors, "ssm_norm.weight"),
        "mamba_norm_before_gate": False,  # as llama.cpp has it: no file says
        "projectors_bias": has(tensors, "ssm_out.bias"),
    }


def granite(metadata: Metadata, architecture: str, tensors: Tensors, decoder: Mapping[str, Any]) -> dict[str, Any]:
    """Read Granite 4's sizes, or those of Granite 3 with a shared expert, which is the same without recurrences."""
    heads, n_experts = by_layer(metadata, f"{architecture}.attention.head_count_kv"), decoder.get("num_experts", 0)
    shared = metadata.integer(f"{architecture}.expert_shared_feed_forward_length", 0)
    rotated = metadata.values.get(f"{architecture}.rope.scaling.finetuned", True)
    config = {
        "layer_types": ["full_attention" if n else "linear_attention" for n in heads],
        "num_local_experts": n_experts,
        "shared_intermediate_size": shared if n_experts else decoder["intermediate_size"],
        "position_embedding_type": "rope" if rotated else "nope",
        "attention_bias": has(tensors, "attn_q.bias"),
    }
    if all(heads):
        return config
    inner, hidden = _size(metadata, architecture, "ssm.inner_size"), decoder["hidden_size"]
    if inner % hidden:
        key, expected = f"{architecture}.ssm.inner_size", f"a multiple of {hidden}, the embedding_length"
        raise PackageError(f"metadata '{key}'", where=metadata.path, expected=expected, found=inner)
    return config | _mamba(metadata, architecture, tensors) | {"mamba_expand": inner // hidden}


def nemotron_h(metadata: Metadata, architecture: str, tensors: Tensors, decoder: Mapping[str, Any]) -> dict[str, Any]:
    heads, widths = (by_layer(metadata, f"{architecture}.{key}") for key in _BY_LAYER)

    def kind(layer: int) -> str:
        if heads[layer]:
            return "full_attention"
        if not widths[layer]:
            return "linear_attention"
        return "moe" if f"blk.{layer}.ffn_gate_inp.weight" in tensors else "mlp"

    inner, n_heads = (_size(metadata, architecture, key) for key in ("ssm.inner_size", "ssm.time_step_rank"))
    shared_size = metadata.integer(f"{architecture}.expert_shared_feed_forward_length", 0)
    return {
        "layers_block_type": [kind(layer) for layer in range(len(heads))],
        "layer_norm_epsilon": decoder["rms_norm_eps"],
        "mamba_num_heads": n_heads,
        "mamba_head_dim": max(inner // n_heads, 1),
        "ssm_state_size": _size(metadata, architecture, "ssm.state_size"),
        "conv_kernel": _size(metadata, architecture, "ssm.conv_kernel"),
        "n_groups": _size(metadata, architecture, "ssm.group_count"),
        "use_bias": has(tensors, "ssm_in.bias"),
        "use_conv_bias": has(tensors, "ssm_conv1d.bias"),
        "mlp_bias": has(tensors, "ffn_up.bias") or has(tensors, "ffn_up_shexp.bias"),
        "n_routed_experts": decoder.get("num_experts", 1),
        "moe_shared_expert_intermediate_size": shared_size or 1,
        "moe_latent_size": metadata.integer(f"{architecture}.moe_latent_size", 0) or None,
        **routing(metadata, architecture),
    }


def _mamba(metadata: Metadata, architecture: str, tensors: Tensors) -> dict[str, Any]:
    return {
        "mamba_n_heads": _size(metadata, architecture, "ssm.time_step_rank"),
        "mamba_n_groups": _size(metadata, architecture, "ssm.group_count"),
        "mamba_d_state": _size(metadata, architecture, "ssm.state_size"),
        "mamba_d_conv": _size(metadata, architecture, "ssm.conv_kernel"),
        "mamba_proj_bias": has(tensors, "ssm_in.bias"),
        "mamba_conv_bias": has(tensors, "ssm_conv1d.bias"),
    }


def _size(metadata: Metadata, architecture: str, key: str) -> int:
    return metadata.integer(f"{architecture}.{key}", least=1)


def _scale(metadata: Metadata, architecture: str) -> float:
    return metadata.number(f"{architecture}.expert_weights_scale", 0.0) or 1.0
