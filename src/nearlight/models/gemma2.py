"""Gemma 2, for planning: norms before and after each sublayer, every other layer with a window, a GELU gate.

Left out, as a few operations on single values: the factor on embeddings and the caps on scores and logits; the gate
counts as SwiGLU's, which does as much. Source: arXiv:2408.00118.
"""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.basic import RMSNorm
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.models.shapes import layer_types
from nearlight.state.cache import LayerCache


class SandwichBlock(Block):
    """h += norm(attention(norm(h))); h += norm(mlp(norm(h))). Shapes: [R, M] -> [R, M]."""

    norms_heads = False

    def __init__(self, ops: Ops, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config.replacing(hidden_act="silu"), index)
        types = layer_types(config)
        sliding = types[index] == "sliding_attention" if types else self.slides(config, index)
        attention, head_dim = f"{self.name}.self_attn", self.shape.head_dim
        norms = self._norm("self_attn.q_norm", head_dim), self._norm("self_attn.k_norm", head_dim)
        self.attention = Attention(
            ops,
            self.shape,
            Projections.of(ops, attention, self.shape),
            norms if self.norms_heads else None,
            scale=config.number("query_pre_attn_scalar", 256) ** -0.5,
            window=config.positions("sliding_window", 4096) if sliding else None,
        )
        self.attention_out_norm = self._norm("post_attention_layernorm", self.shape.hidden_size)
        self.mlp_norm = self._norm("pre_feedforward_layernorm", self.shape.hidden_size)
        self.mlp_out_norm = self._norm("post_feedforward_layernorm", self.shape.hidden_size)

    def slides(self, config: ConfigReader, index: int) -> bool:
        """Say whether a layer has the window, where `layer_types` does not."""
        return index % 2 == 0

    def _norm(self, name: str, width: int) -> RMSNorm:
        return RMSNorm(self.ops, f"{self.name}.{name}", width, self.eps)

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        attended = self.attention(self.attention_norm(h), rows, angles, cache)
        h = self.ops.add(h, self.attention_out_norm(attended))
        return self.ops.add(h, self.mlp_out_norm(self.mlp(self.mlp_norm(h))))


class Gemma2(Llama):
    leaves_out = "the factor on embeddings, the caps on scores and logits, the gate's GELU"
    block = SandwichBlock
    defaults: ClassVar = {
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "head_dim": 256,
        "num_key_value_heads": 4,
        "tie_word_embeddings": True,
    }
