"""GLM-4 of 2025 (GLM-4-9B-0414, GLM-Z1): norms before and after each sublayer, half of each head turned in neighbours.

Source: transformers 5.23, models/glm4 (Apache-2.0), read for facts.
"""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.basic import RMSNorm
from nearlight.layers.mlp import FusedGatedMLP
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.state.cache import LayerCache


class SandwichBlock(Block):
    """h += norm(attention(norm(h))); h += norm(mlp(norm(h))). Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: Ops, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        name, width, bias = f"{self.name}.self_attn", self.shape.hidden_size, config.flag("attention_bias", True)
        projections = Projections.of(ops, name, self.shape, qkv_bias=bias)
        self.attention = Attention(ops, self.shape, projections, interleaved=True)
        self.attention_out_norm = RMSNorm(ops, f"{self.name}.post_self_attn_layernorm", width, self.eps)
        self.mlp = FusedGatedMLP(ops, f"{self.name}.mlp", width, config.size("intermediate_size"))
        self.mlp_out_norm = RMSNorm(ops, f"{self.name}.post_mlp_layernorm", width, self.eps)

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        attended = self.attention(self.attention_norm(h), rows, angles, cache)
        h = self.ops.add(h, self.attention_out_norm(attended))
        return self.ops.add(h, self.mlp_out_norm(self.mlp(self.mlp_norm(h))))


class Glm4(Llama):
    block = SandwichBlock
    rope_defaults: ClassVar = {"partial_rotary_factor": 0.5}
    defaults: ClassVar = {
        "vocab_size": 151552,
        "max_position_embeddings": 131072,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "rms_norm_eps": 1.5625e-7,
    }
