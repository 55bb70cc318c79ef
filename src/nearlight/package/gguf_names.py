"""Tensors of a GGUF file under Hugging Face names, shapes and row order.

One table per family. Two things are undone besides: fused q/k/v matrices are cut into their three row ranges, and
llama's q and k rows, stored so that the two halves of a rotary pair are neighbours, go back to half-split order. Rows
move whole, so quantized ones move without being decoded, and only when read.

Source: docs/formats.md sections 5.5 and 5.6; gguf package, constants.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nearlight import formats
from nearlight.dtypes import F32
from nearlight.errors import PackageError
from nearlight.package.tensors import Bytes, StoredTensor

_GGUF_NAME = re.compile(r"(?:blk\.(?P<layer>\d{1,6})\.)?(?P<module>[\w.]+?)(?:\.(?P<kind>weight|bias|scale))?")


@dataclass(frozen=True)
class Names:
    """Module names of one family: outside the layers, what a layer is called, and inside it."""

    outside: Mapping[str, str]
    layer: str
    inside: Mapping[str, str]

    def hugging_face(self, layer: str | None, module: str, kind: str | None) -> str | None:
        """Return the full name, or None where the family has no such module. A name with a dot at its end is whole."""
        names = self.outside if layer is None else self.inside
        whole = f"{module}.{kind}" in names  # where weight and bias go different ways
        name = names.get(f"{module}.{kind}" if whole else module)
        if name is None:
            return None
        place = "" if layer is None else f"{self.layer}.{int(layer)}."
        return place + name if whole or kind is None else f"{place}{name}.{kind}"


DECODER = Names(
    {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"},
    "model.layers",
    {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    },
)


def _experts(router: str, gate: str, up: str, down: str) -> dict[str, str]:
    """Name a mixture of experts; a stack of all experts' matrices is called by the `*` that stands for a number."""
    return {"ffn_gate_inp": router, "ffn_gate_exps": gate, "ffn_up_exps": up, "ffn_down_exps": down}


_FOUR_NORMS = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
_STACKED = ("mlp.experts.*.gate_proj", "mlp.experts.*.up_proj", "mlp.experts.*.down_proj")


def _decoder(**changed: str) -> Names:
    return Names(DECODER.outside, DECODER.layer, {**DECODER.inside, **changed})


QWEN3_MOE = _decoder(**_experts("mlp.gate", *_STACKED))
MIXTRAL = _decoder(**_experts("block_sparse_moe.gate", *(f"block_sparse_moe.experts.*.w{n}" for n in (1, 3, 2))))
GPT_OSS = _decoder(
    post_attention_norm="post_attention_layernorm",
    **{"attn_sinks.weight": "self_attn.sinks"},
    **_experts("mlp.router", *_STACKED),
)
OLMO2 = _decoder(**_FOUR_NORMS)
GEMMA = _decoder(**_FOUR_NORMS, ffn_norm="pre_feedforward_layernorm")
GEMMA4 = Names(
    {
        **DECODER.outside,
        "per_layer_token_embd": "model.embed_tokens_per_layer",
        "per_layer_model_proj": "model.per_layer_model_projection",
        "per_layer_proj_norm": "model.per_layer_projection_norm",
    },
    DECODER.layer,
    {
        **GEMMA.inside,
        "inp_gate": "per_layer_input_gate",
        "proj": "per_layer_projection",
        "post_norm": "post_per_layer_input_norm",
        "layer_output_scale.weight": "layer_scalar",
        "post_ffw_norm_1": "post_feedforward_layernorm_1",
        "pre_ffw_norm_2": "pre_feedforward_layernorm_2",
        "post_ffw_norm_2": "post_feedforward_layernorm_2",
        "ffn_gate_inp": "router.proj",
        "ffn_gate_inp.scale": "router.scale",
        "ffn_gate_up_exps": "experts.gate_up_proj",
        "ffn_down_exps": "experts.down_proj",
        "ffn_down_exps.scale": "router.per_expert_scale",
    },
)
GLM4 = _decoder(
    post_attention_norm="post_self_attn_layernorm", post_ffw_norm="post_mlp_layernorm", ffn_up="mlp.gate_up_proj"
)
GLM4_MOE = _decoder(
    **_experts("mlp.gate", *_STACKED),
    **{f"ffn_{part}_shexp": f"mlp.shared_experts.{part}_proj" for part in ("gate", "up", "down")},
    **{"exp_probs_b.bias": "mlp.gate.e_score_correction_bias"},
    post_attention_norm="post_attention_layernorm",
)
_SHARED = {f"ffn_{part}_shexp": f"mlp.shared_expert.{part}_proj" for part in ("gate", "up", "down")}
_DELTA_NET = {
    "attn_qkv": "linear_attn.in_proj_qkv",
    "attn_gate": "linear_attn.in_proj_z",
    "ssm_ba": "linear_attn.in_proj_ba",
    "ssm_alpha": "linear_attn.in_proj_a",
    "ssm_beta": "linear_attn.in_proj_b",
    "ssm_conv1d": "linear_attn.conv1d",
    "ssm_a": "linear_attn.A_log",
    "ssm_dt.bias": "linear_attn.dt_bias",
    "ssm_norm": "linear_attn.norm",
    "ssm_out": "linear_attn.out_proj",
}
QWEN3_NEXT = _decoder(
    post_attention_norm="post_attention_layernorm",
    ffn_gate_inp_shexp="mlp.shared_expert_gate",
    **_experts("mlp.gate", *_STACKED),
    **_SHARED,
    **_DELTA_NET,
)
LLAMA4 = _decoder(
    **_experts("feed_forward.router", *(f"feed_forward.experts.*.{part}_proj" for part in ("gate", "up", "down"))),
    **{f"ffn_{part}": f"feed_forward.{part}_proj" for part in ("gate", "up", "down")},
    **{f"ffn_{part}_shexp": f"feed_forward.shared_expert.{part}_proj" for part in ("gate", "up", "down")},
)
PHI3 = _decoder(attn_qkv="self_attn.qkv_proj", ffn_up="mlp.gate_up_proj")
UNKNOWN = Names({}, "", {})
GPT2 = Names(
    {
        "token_embd": "transformer.wte",
        "position_embd": "transformer.wpe",
        "output_norm": "transformer.ln_f",
        "output": "lm_head",
    },
    "transformer.h",
    {
        "attn_norm": "ln_1",
        "attn_qkv": "attn.c_attn",
        "attn_output": "attn.c_proj",
        "ffn_norm": "ln_2",
        "ffn_up": "mlp.c_fc",
        "ffn_down": "mlp.c_proj",
    },
)
_MAMBA = {
    "attn_norm": "norm",
    "ssm_in": "mixer.in_proj",
    "ssm_conv1d": "mixer.conv1d",
    "ssm_a": "mixer.A_log",
    "ssm_d": "mixer.D",
    "ssm_out": "mixer.out_proj",
}
_BACKBONE = {"token_embd": "backbone.embeddings", "output_norm": "backbone.norm_f", "output": "lm_head"}
MAMBA = Names(_BACKBONE, "backbone.layers", {**_MAMBA, "ssm_x": "mixer.x_proj", "ssm_dt": "mixer.dt_proj"})
_MAMBA2 = {**_MAMBA, "ssm_dt.bias": "mixer.dt_bias", "ssm_norm": "mixer.norm"}
MAMBA2 = Names(_BACKBONE, "backbone.layers", _MAMBA2)
_BESIDE_ATTENTION = {name: place.replace("mixer.", "mamba.") for name, place in _MAMBA2.items() if "mixer." in place}
FALCON_H1 = Names(
    {**DECODER.outside, "output_norm": "model.final_layernorm"},
    "model.layers",
    {
        **DECODER.inside,
        **_BESIDE_ATTENTION,
        "ffn_norm": "pre_ff_layernorm.weight",
        "ffn_norm.weight": "pre_ff_layernorm.weight",
        **{f"ffn_{part}": f"feed_forward.{part}_proj" for part in ("gate", "up", "down")},
    },
)
GRANITE_MOE = _decoder(
    **_BESIDE_ATTENTION,
    **_experts("block_sparse_moe.router.layer", *(name.replace("mlp", "block_sparse_moe") for name in _STACKED)),
    **{f"ffn_{part}": f"shared_mlp.{part}_proj" for part in ("gate", "up", "down")},
    **{f"ffn_{part}_shexp": f"shared_mlp.{part}_proj" for part in ("gate", "up", "down")},
)
LFM2 = Names(
    {"token_embd": "model.embed_tokens", "token_embd_norm": "model.embedding_norm", "output": "lm_head"},
    "model.layers",
    {
        **DECODER.inside,
        "attn_norm": "operator_norm",
        "attn_output": "self_attn.out_proj",
        "attn_q_norm": "self_attn.q_layernorm",
        "attn_k_norm": "self_attn.k_layernorm",
        "shortconv.in_proj": "conv.in_proj",
        "shortconv.conv": "conv.conv",
        "shortconv.out_proj": "conv.out_proj",
        "ffn_norm": "ffn_norm",
        "ffn_gate": "feed_forward.w1",
        "ffn_up": "feed_forward.w3",
        "ffn_down": "feed_forward.w2",
        **_experts("feed_forward.gate", *(f"feed_forward.experts.*.w{n}" for n in (1, 3, 2))),
        "exp_probs_b.bias": "feed_forward.expert_bias",
    },
)
NEMOTRON_H = Names(
    _BACKBONE,
    "backbone.layers",
    {
        **_MAMBA2,
        **{f"attn_{part}": f"mixer.{part}_proj" for part in "qkv"},
        "attn_output": "mixer.o_proj",
        "ffn_up": "mixer.up_proj",
        "ffn_down": "mixer.down_proj",
        "ffn_gate_inp": "mixer.gate",
        "exp_probs_b.bias": "mixer.gate.e_score_correction_bias",
        "ffn_up_exps": "mixer.experts.*.up_proj",
        "ffn_down_exps": "mixer.experts.*.down_proj",
        "ffn_up_shexp": "mixer.shared_experts.up_proj",
        "ffn_down_shexp": "mixer.shared_experts.down_proj",
        "ffn_latent_down": "mixer.fc1_latent_proj",
        "ffn_latent_up": "mixer.fc2_latent_proj",
    },
)
_USED_OTHERWISE = {"rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"}
"""Tensors that become part of the config."""


def rename(
    path: Path, tensors: Iterable[StoredTensor], names: Names, config: Mapping[str, Any], permuted: bool
) -> tuple[dict[str, StoredTensor], list[str]]:
    """Give tensors their Hugging Face names and row order; also return the names that mean nothing here.

    Raises: PackageError when two tensors claim one name, or rows do not divide into heads.
    """
    renamed: dict[str, StoredTensor] = {}
    unknown = []
    rotated = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"} if permuted else {}
    for tensor in tensors:
        match = _GGUF_NAME.fullmatch(tensor.name)
        if names is UNKNOWN:
            renamed[tensor.name] = tensor
            continue
        if match is None:
            unknown.append(tensor.name)
            continue
        layer, kind = match["layer"], match["kind"]
        fused = match["module"] == "attn_qkv" and "attn_qkv" not in names.inside
        pieces = _split_qkv(path, tensor, config) if fused else {match["module"]: tensor}
        for module, piece in pieces.items():
            name = names.hugging_face(layer, module, kind)
            if name is None:
                unknown.append(tensor.name)
                continue
            if name in renamed:
                raise PackageError(f"tensor '{tensor.name}' gives '{name}' a second time", where=path)
            if module in rotated:
                piece = _unpermuted(path, piece, config[rotated[module]])
            if module.endswith("_exps"):
                piece = _stacked(piece)
            if module in _RESHAPED and kind != "bias":
                piece = _RESHAPED[module](piece)
            renamed[name] = piece.renamed(name)
    return renamed, [name for name in unknown if name not in _USED_OTHERWISE]


def _split_qkv(path: Path, tensor: StoredTensor, config: Mapping[str, Any]) -> dict[str, StoredTensor]:
    """Cut a fused matrix (or bias) into its rows for q, k and v."""
    n_q = config["num_attention_heads"] * config["head_dim"]
    n_kv = config["num_key_value_heads"] * config["head_dim"]
    _check_rows_move(path, tensor, n_q + 2 * n_kv)
    return {
        "attn_q": _row_range(tensor, 0, n_q),
        "attn_k": _row_range(tensor, n_q, n_q + n_kv),
        "attn_v": _row_range(tensor, n_q + n_kv, n_q + 2 * n_kv),
    }


def _row_range(tensor: StoredTensor, start: int, stop: int) -> StoredTensor:
    shape = (stop - start, *tensor.shape[1:])
    part = replace(tensor, shape=shape)

    def read() -> Bytes:
        rows = tensor.read().reshape(tensor.shape[0], -1)[start:stop]
        return rows.reshape(part.n_rows, -1)

    return replace(part, read=read)


def _unpermuted(path: Path, tensor: StoredTensor, n_heads: int) -> StoredTensor:
    """Put rows (0, D/2, 1, D/2 + 1, …) of every head back into order 0, 1, …, D − 1."""
    n_rows = tensor.shape[0] if tensor.shape else 1
    expected = f"a multiple of {2 * n_heads} rows for {n_heads} heads"
    if n_rows % (2 * n_heads):
        raise PackageError(f"shape of tensor '{tensor.name}'", where=path, expected=expected, found=list(tensor.shape))
    _check_rows_move(path, tensor, n_rows)

    def read() -> Bytes:
        data = tensor.read()
        pairs = data.reshape(n_heads, n_rows // n_heads // 2, 2, -1)
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(data.shape)

    return replace(tensor, read=read)


def _check_rows_move(path: Path, tensor: StoredTensor, n_rows: int) -> None:
    """Require `n_rows` along the first axis, each of whole bytes: a bias in blocks could not be taken apart."""
    if not tensor.shape or tensor.shape[0] != n_rows:
        found = list(tensor.shape)
        raise PackageError(f"shape of tensor '{tensor.name}'", where=path, expected=f"{n_rows} rows", found=found)
    if len(tensor.shape) == 1 and tensor.format.block_size > 1:
        raise PackageError(f"type of tensor '{tensor.name}'", where=path, expected="F32 or F16", found=tensor.format)


def _stacked(tensor: StoredTensor) -> StoredTensor:
    """All experts' matrices [E, out, in] as one [E * out, in], their biases [E, out] as one vector."""
    if len(tensor.shape) == 2:
        return _flat(tensor)
    if len(tensor.shape) < 2:  # a value for each expert, or what no expert has
        return tensor
    return replace(tensor, shape=(tensor.shape[0] * tensor.shape[1], *tensor.shape[2:]))


# -- state space models: other shapes, and decays in place of their logarithms ----------------------------------------


def _logarithm_of_decay(tensor: StoredTensor) -> StoredTensor:
    """Files have A = -exp(A_log), and one A for a head as [H, 1]."""

    def read() -> Bytes:
        values = formats.dequantize(tensor.format, tensor.read(), tensor.row_length)
        with np.errstate(all="ignore"):  # what is no decay becomes NaN, and is noticed in the logits
            return np.ascontiguousarray(np.log(-values), np.float32).view(np.uint8).reshape(-1, 4 * shape[-1])

    shape = _without_ones(tensor.shape)
    return replace(tensor, format=F32, shape=shape, read=read)


def _flat(tensor: StoredTensor) -> StoredTensor:
    """A norm of groups, or one value a head, as a vector."""
    size = tensor.n_rows * tensor.row_length
    return replace(tensor, shape=(size,), read=lambda: tensor.read().reshape(1, -1))


def _one_input_each(tensor: StoredTensor) -> StoredTensor:
    """A convolution's factors [C, K] as [C, 1, K]."""
    return replace(tensor, shape=(tensor.shape[0], 1, *tensor.shape[1:])) if len(tensor.shape) == 2 else tensor


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axis for axis in shape if axis != 1) or (1,)


_RESHAPED = {
    "ssm_a": _logarithm_of_decay,
    "ssm_d": _flat,
    "ssm_norm": _flat,
    "ssm_conv1d": _one_input_each,
    "shortconv.conv": _one_input_each,
}
