"""SmolLM3: llama, in which every fourth layer attends without positions (NoPE). Source: arXiv:2305.19466."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearlight.cache.kv import AttentionCache
from nearlight.errors import PackageError
from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention
from nearlight.layers.basic import RMSNorm
from nearlight.layers.decoder import Block, Decoder
from nearlight.layers.mlp import GatedMLP
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import attention_shape, projections, rotary_decoder


class UnrotatedAttention(Attention):
    """Attention that knows no positions but for what it may see."""

    def __call__(self, x: Array, rows: Rows, angles: Array | None, cache: AttentionCache) -> Array:
        return super().__call__(x, rows, None, cache)


def build(ops: Ops, config: Mapping[str, Any]) -> Decoder:
    read = ConfigReader(config)
    shape, eps = attention_shape(read), read.number("rms_norm_eps", 1e-6)
    rotated = _rotated(config, read.size("num_hidden_layers"), read.size("no_rope_layer_interval", 4))
    window = read.size("sliding_window", 4096) if read.flag("use_sliding_window", False) else None

    def block(i: int) -> Block:
        name = f"model.layers.{i}"
        projected = projections(ops, f"{name}.self_attn", shape)
        attention = (
            Attention(ops, i, shape, projected)
            if rotated[i]
            else UnrotatedAttention(ops, i, shape, projected, window=window)
        )
        return Block(
            ops,
            RMSNorm(ops, f"{name}.input_layernorm", shape.hidden_size, eps),
            attention,
            RMSNorm(ops, f"{name}.post_attention_layernorm", shape.hidden_size, eps),
            GatedMLP(ops, f"{name}.mlp", shape.hidden_size, read.size("intermediate_size")),
        )

    tied = read.flag("tie_word_embeddings", True)
    config = {**config, "tie_word_embeddings": tied}
    return rotary_decoder(ops, config, vocab_size=128256, max_positions=32768, block=block)


def _rotated(config: Mapping[str, Any], n_layers: int, interval: int) -> list[bool]:
    """Return which layers rotate: `no_rope_layers` has, against its name, 1 for those that do."""
    listed = config.get("no_rope_layers")
    if listed is None:
        return [(i + 1) % interval != 0 for i in range(n_layers)]
    if not isinstance(listed, list | tuple) or len(listed) != n_layers or not set(listed) <= {0, 1}:
        raise PackageError("no_rope_layers", where="config.json", expected=f"{n_layers} of 0 and 1", found=listed)
    return [bool(each) for each in listed]
