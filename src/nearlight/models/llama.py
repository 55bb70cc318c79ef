"""Llama 1, 2 and 3, and the many models of that shape: the decoder that most families are a variation of.

Source: arXiv:2302.13971, arXiv:2407.21783.
"""

from __future__ import annotations

from typing import Any, ClassVar

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.basic import Embedding, Head, RMSNorm
from nearlight.layers.experts import SparseMLP
from nearlight.layers.mlp import GatedMLP
from nearlight.layers.parameters import Layer
from nearlight.models.config import ConfigReader
from nearlight.models.model import Model
from nearlight.models.shapes import attention_shape, require_silu, rope_of, window_in_use
from nearlight.state.cache import LayerCache


class Block(Layer):
    """h += attention(norm(h)); h += mlp(norm(h)). Shapes: [R, M] -> [R, M].

    A family that differs replaces a part of it.
    """

    mlp: GatedMLP | SparseMLP

    def __init__(self, ops: Ops, config: ConfigReader, index: int) -> None:
        require_silu(config)
        self.ops = ops
        self.name = name = f"model.layers.{index}"
        self.shape = shape = attention_shape(config)
        self.eps = config.number("rms_norm_eps", 1e-6)
        bias = config.flag("attention_bias", False)
        projections = Projections.of(ops, f"{name}.self_attn", shape, qkv_bias=bias, out_bias=bias)
        mlp_size, mlp_bias = config.size("intermediate_size"), config.flag("mlp_bias", False)
        self.attention_norm = RMSNorm(ops, f"{name}.input_layernorm", shape.hidden_size, self.eps)
        self.attention = Attention(ops, shape, projections, window=self.window(config, index))
        self.mlp_norm = RMSNorm(ops, f"{name}.post_attention_layernorm", shape.hidden_size, self.eps)
        self.mlp = GatedMLP(ops, f"{name}.mlp", shape.hidden_size, mlp_size, mlp_bias)

    def window(self, config: ConfigReader, index: int) -> int | None:
        """Read how many tokens a row sees: of models like Mistral's first, which GGUF files also call llama."""
        return window_in_use(config)

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        h = self.ops.add(h, self.attention(self.attention_norm(h), rows, angles, cache))
        return self.ops.add(h, self.mlp(self.mlp_norm(h)))


class Llama(Model):
    """Embed, blocks, norm, head. A family that differs says which block it has, and what its config may leave out."""

    block: ClassVar[type[Block]] = Block
    defaults: ClassVar[dict[str, Any]] = {}
    rope_defaults: ClassVar[dict[str, float]] = {}

    def __init__(self, ops: Ops, config: ConfigReader) -> None:
        config = config.with_defaults(**{"vocab_size": 32000, "max_position_embeddings": 2048, **self.defaults})
        width, eps = config.size("hidden_size"), config.number("rms_norm_eps", 1e-6)
        self.rope = rope_of(ops, config, defaults=self.rope_defaults)
        super().__init__(ops, config.size("vocab_size"), self.rope.scaling.max_positions)
        self.embedding = Embedding(ops, "model.embed_tokens", self.vocab_size, width)
        self.blocks = [self.block(ops, config, i) for i in range(config.layers("num_hidden_layers"))]
        self.norm = RMSNorm(ops, "model.norm", width, eps)
        self.head = Head(ops, self.embedding, tied=config.flag("tie_word_embeddings", False))

    def hidden(self, rows: Rows, cache: LayerCache) -> Array:
        h = self.embedding(rows)
        angles = self.rope.angles(rows)
        for block in self.blocks:
            h = block(h, rows, angles, cache)
        return self.norm(self.ops.take(h, rows.logit_rows))

    def logits(self, hidden: Array) -> Array:
        return self.head(hidden)
