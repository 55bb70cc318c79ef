"""Phi-3, Phi-3.5, Phi-4 and their minis: llama with queries, keys and values as one matrix, and gate and up as one.

For planning, a stretched rotation (longrope) counts as a plain one: as many angles. Source: arXiv:2404.14219.
"""

from __future__ import annotations

from nearlight.kernels.ops import Ops
from nearlight.layers.attention import Attention, AttentionShape, Projections
from nearlight.layers.basic import Linear, RMSNorm
from nearlight.layers.decoder import Block, Decoder
from nearlight.layers.mlp import GatedMLP
from nearlight.layers.parameters import Part
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import attention_shape, rotary_decoder


class FusedGatedMLP(GatedMLP):
    """A gated MLP whose gate and up are the two halves of one stored matrix."""

    def __init__(self, ops: Ops, name: str, hidden_size: int, intermediate_size: int) -> None:
        self.ops = ops
        self.gate_proj, self.up_proj = (
            Linear(
                ops,
                f"{name}.gate_up_proj",
                intermediate_size,
                hidden_size,
                part=Part(half * intermediate_size, 2 * intermediate_size),
            )
            for half in range(2)
        )
        self.down_proj = Linear(ops, f"{name}.down_proj", hidden_size, intermediate_size)


def build(ops: Ops, config: ConfigReader) -> Decoder:
    config = config.with_defaults(rms_norm_eps=1e-5)
    shape, eps = attention_shape(config), config.number("rms_norm_eps")
    window = config.positions("sliding_window") if config.has("sliding_window") else None

    def block(i: int) -> Block:
        name = f"model.layers.{i}"
        return Block(
            ops,
            RMSNorm(ops, f"{name}.input_layernorm", shape.hidden_size, eps),
            Attention(ops, i, shape, _fused(ops, f"{name}.self_attn", shape), window=window),
            RMSNorm(ops, f"{name}.post_attention_layernorm", shape.hidden_size, eps),
            FusedGatedMLP(ops, f"{name}.mlp", shape.hidden_size, config.size("intermediate_size")),
        )

    rope = {**config.mapping("rope_parameters")}
    if rope.get("rope_type") == "longrope":
        rope["rope_type"] = "default"
    return rotary_decoder(
        ops, config.replacing(rope_parameters=rope), vocab_size=32064, max_positions=4096, block=block
    )


def _fused(ops: Ops, name: str, shape: AttentionShape) -> Projections:
    q_width, kv_width = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    total = q_width + 2 * kv_width
    q, k, v = (
        Linear(ops, f"{name}.qkv_proj", width, shape.hidden_size, part=Part(start, total))
        for width, start in ((q_width, 0), (kv_width, q_width), (kv_width, q_width + kv_width))
    )
    return Projections(q, k, v, Linear(ops, f"{name}.o_proj", shape.hidden_size, q_width))
