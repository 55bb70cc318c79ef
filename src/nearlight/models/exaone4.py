"""EXAONE 4: norms follow the sublayers and heads are normed; of layers in turns, those with a window rotate alone.

Source: arXiv:2507.11407.
"""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention
from nearlight.layers.basic import RMSNorm
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.models.shapes import FULL, SLIDING, kinds_of_layers
from nearlight.state.cache import LayerCache


class PostNormBlock(Block):
    """h += norm(attention(h)); h += norm(mlp(h)). Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: Ops, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        shape, name = self.shape, f"{self.name}.self_attn"
        norms = tuple(RMSNorm(ops, f"{name}.{part}_norm", shape.head_dim, self.eps) for part in "qk")
        window = self.window(config, index)
        self.rotates = window is not None or not config.has("sliding_window")
        self.attention = Attention(ops, shape, self.attention.projections, (norms[0], norms[1]), window=window)
        self.attention_norm = RMSNorm(ops, f"{self.name}.post_attention_layernorm", shape.hidden_size, self.eps)
        self.mlp_norm = RMSNorm(ops, f"{self.name}.post_feedforward_layernorm", shape.hidden_size, self.eps)

    def window(self, config: ConfigReader, index: int) -> int | None:
        if not config.has("sliding_window"):
            return None
        kinds = kinds_of_layers(config, lambda i: _of_pattern(config, i))
        return config.positions("sliding_window") if kinds[index] == SLIDING else None

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        attended = self.attention(h, rows, angles if self.rotates else None, cache)
        h = self.ops.add(h, self.attention_norm(attended))
        return self.ops.add(h, self.mlp_norm(self.mlp(h)))


def _of_pattern(config: ConfigReader, index: int) -> str:
    return SLIDING if (index + 1) % config.positions("sliding_window_pattern", 4) else FULL


class Exaone4(Llama):
    block = PostNormBlock
    defaults: ClassVar = {"vocab_size": 102400, "rms_norm_eps": 1e-5}
