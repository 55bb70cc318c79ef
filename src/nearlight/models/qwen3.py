"""Qwen3, dense: every head of queries and keys is normalised before rotation. Source: arXiv:2505.09388."""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.basic import Embedding, Head, RMSNorm
from nearlight.layers.experts import SparseMLP
from nearlight.layers.mlp import GatedMLP
from nearlight.layers.parameters import Layer
from nearlight.models.config import ConfigReader
from nearlight.models.model import Model
from nearlight.models.shapes import attention_shape, require_silu, rope_of, window_of_layer
from nearlight.state.cache import LayerCache


class Block(Layer):
    """h += attention(norm(h)); h += mlp(norm(h)). Shapes: [R, M] -> [R, M]."""

    mlp: GatedMLP | SparseMLP

    def __init__(self, ops: Ops, config: ConfigReader, index: int) -> None:
        require_silu(config)
        self.ops = ops
        name, shape, eps = f"model.layers.{index}", attention_shape(config), config.number("rms_norm_eps", 1e-6)
        attention, bias = f"{name}.self_attn", config.flag("attention_bias", False)
        self.attention_norm = RMSNorm(ops, f"{name}.input_layernorm", shape.hidden_size, eps)
        self.attention = Attention(
            ops,
            shape,
            Projections.of(ops, attention, shape, qkv_bias=bias, out_bias=bias),
            norms=(
                RMSNorm(ops, f"{attention}.q_norm", shape.head_dim, eps),
                RMSNorm(ops, f"{attention}.k_norm", shape.head_dim, eps),
            ),
            window=self.window(config, index),
        )
        self.mlp_norm = RMSNorm(ops, f"{name}.post_attention_layernorm", shape.hidden_size, eps)
        self.mlp = GatedMLP(ops, f"{name}.mlp", shape.hidden_size, config.size("intermediate_size"))

    def window(self, config: ConfigReader, index: int) -> int | None:
        """Read how many tokens a row sees at most."""
        return window_of_layer(config, index)

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        h = self.ops.add(h, self.attention(self.attention_norm(h), rows, angles, cache))
        return self.ops.add(h, self.mlp(self.mlp_norm(h)))


class Qwen3(Model):
    """Embed, blocks, norm, head."""

    block: ClassVar[type[Block]] = Block

    def __init__(self, ops: Ops, config: ConfigReader) -> None:
        config = config.with_defaults(vocab_size=151936, max_position_embeddings=32768, head_dim=128)
        width = config.size("hidden_size")
        self.rope = rope_of(ops, config)
        super().__init__(ops, config.size("vocab_size"), self.rope.scaling.max_positions)
        self.embedding = Embedding(ops, "model.embed_tokens", self.vocab_size, width)
        self.blocks = [self.block(ops, config, i) for i in range(config.layers("num_hidden_layers"))]
        self.norm = RMSNorm(ops, "model.norm", width, config.number("rms_norm_eps", 1e-6))
        self.head = Head(ops, self.embedding, tied=config.flag("tie_word_embeddings", False))

    def hidden(self, rows: Rows, cache: LayerCache) -> Array:
        h = self.embedding(rows)
        angles = self.rope.angles(rows)
        for block in self.blocks:
            h = block(h, rows, angles, cache)
        return self.norm(self.ops.take(h, rows.logit_rows))

    def logits(self, hidden: Array) -> Array:
        return self.head(hidden)
