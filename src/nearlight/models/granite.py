"""Granite 3: llama with factors on embeddings, scores, what a layer adds, and logits. Source: arXiv:2405.04324."""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.state.cache import LayerCache


class ScaledBlock(Block):
    """h += f * attention(norm(h)); h += f * mlp(norm(h)). Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: Ops, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        scale = config.number("attention_multiplier", 1.0)
        self.attention = Attention(ops, self.shape, self.attention.projections, scale=scale)
        self.factor = config.number("residual_multiplier", 1.0)

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        h = self.ops.add(h, self.attention(self.attention_norm(h), rows, angles, cache), self.factor)
        return self.ops.add(h, self.mlp(self.mlp_norm(h)), self.factor)


class Granite(Llama):
    block: ClassVar[type[Block]] = ScaledBlock

    def __init__(self, ops: Ops, config: ConfigReader) -> None:
        super().__init__(ops, config)
        self.embedding.scale = config.number("embedding_multiplier", 1.0)
        self.factor = 1 / config.number("logits_scaling", 1.0)

    def logits(self, hidden: Array) -> Array:
        return self.ops.scale(super().logits(hidden), self.factor)
