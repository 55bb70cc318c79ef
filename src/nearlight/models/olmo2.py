"""OLMo 2: norms follow the sublayers, and heads are normed all at once. Source: arXiv:2501.00656."""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.basic import RMSNorm
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.state.cache import LayerCache


class PostNormBlock(Block):
    """h += norm(attention(h)); h += norm(mlp(h)). Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: Ops, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        name, shape = f"{self.name}.self_attn", self.shape
        norms = (
            RMSNorm(ops, f"{name}.q_norm", shape.q_width, self.eps),
            RMSNorm(ops, f"{name}.k_norm", shape.kv_width, self.eps),
        )
        self.attention_norm = RMSNorm(ops, f"{self.name}.post_attention_layernorm", shape.hidden_size, self.eps)
        self.attention = Attention(ops, shape, Projections.of(ops, name, shape), norms)
        self.mlp_norm = RMSNorm(ops, f"{self.name}.post_feedforward_layernorm", shape.hidden_size, self.eps)

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        h = self.ops.add(h, self.attention_norm(self.attention(h, rows, angles, cache)))
        return self.ops.add(h, self.mlp_norm(self.mlp(h)))


class Olmo2(Llama):
    block = PostNormBlock
    defaults: ClassVar = {"vocab_size": 50304, "rms_norm_eps": 1e-5}
