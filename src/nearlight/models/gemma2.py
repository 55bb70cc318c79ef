"""Gemma 2: norms before and after each sublayer, every other layer with a window, GEGLU, capped scores and logits.

Source: arXiv:2408.00118.
"""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.basic import Embedding, Head, RMSNorm
from nearlight.layers.mlp import GeluGatedMLP
from nearlight.layers.parameters import Layer
from nearlight.models.config import ConfigReader
from nearlight.models.model import Model
from nearlight.models.shapes import FULL, SLIDING, attention_shape, kinds_of_layers, optional_number, rope_of
from nearlight.state.cache import LayerCache

GELU = {"gelu_pytorch_tanh": "tanh", "gelu_new": "tanh", "gelu": "none"}


class Block(Layer):
    """h += norm(attention(norm(h))); h += norm(mlp(norm(h))). Shapes: [R, M] -> [R, M]."""

    norms_heads: ClassVar[bool] = False

    def __init__(self, ops: Ops, config: ConfigReader, index: int, kind: str) -> None:
        self.ops = ops
        self.kind = kind
        self.name, self.eps = f"model.layers.{index}", config.number("rms_norm_eps", 1e-6)
        shape, name = attention_shape(config), f"{self.name}.self_attn"
        heads = self._norm("self_attn.q_norm", shape.head_dim), self._norm("self_attn.k_norm", shape.head_dim)
        self.attention_norm = self._norm("input_layernorm", shape.hidden_size)
        self.attention = Attention(
            ops,
            shape,
            Projections.of(ops, name, shape, qkv_bias=config.flag("attention_bias", False)),
            heads if self.norms_heads else None,
            scale=config.number("query_pre_attn_scalar", 256) ** -0.5,
            window=config.positions("sliding_window", 4096) if kind == SLIDING else None,
            softcap=optional_number(config, "attn_logit_softcapping"),
        )
        self.attention_out_norm = self._norm("post_attention_layernorm", shape.hidden_size)
        self.mlp_norm = self._norm("pre_feedforward_layernorm", shape.hidden_size)
        gelu = config.choice("hidden_activation", GELU, "gelu_pytorch_tanh")
        self.mlp = GeluGatedMLP(ops, f"{self.name}.mlp", shape.hidden_size, config.size("intermediate_size"), gelu)
        self.mlp_out_norm = self._norm("post_feedforward_layernorm", shape.hidden_size)

    def _norm(self, name: str, width: int) -> RMSNorm:
        return RMSNorm(self.ops, f"{self.name}.{name}", width, self.eps)

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        attended = self.attention(self.attention_norm(h), rows, angles, cache)
        h = self.ops.add(h, self.attention_out_norm(attended))
        return self.ops.add(h, self.mlp_out_norm(self.mlp(self.mlp_norm(h))))


class Gemma2(Model):
    """Embed and scale, blocks, norm, head."""

    block: ClassVar[type[Block]] = Block
    defaults: ClassVar[dict[str, object]] = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    thetas: ClassVar[dict[str, float]] = {FULL: 10000.0, SLIDING: 10000.0}

    def __init__(self, ops: Ops, config: ConfigReader) -> None:
        usual = {"vocab_size": 262208, "max_position_embeddings": 131072, "head_dim": 256, "num_key_value_heads": 4}
        off = {key: None for key in self.defaults if config.is_off(key)}
        config = config.with_defaults(**{**usual, **self.defaults}).replacing(**off)
        width = config.size("hidden_size")
        kinds = kinds_of_layers(config, lambda i: SLIDING if self.slides(config, i) else FULL)
        self.ropes = {
            kind: rope_of(ops, config, kind, {"rope_theta": self.thetas[kind]}) for kind in sorted(set(kinds))
        }
        positions = min(rope.scaling.max_positions for rope in self.ropes.values())
        super().__init__(ops, config.size("vocab_size"), positions)
        self.embedding = Embedding(ops, "model.embed_tokens", self.vocab_size, width, scale=width**0.5)
        self.blocks = [self.block(ops, config, i, kind) for i, kind in enumerate(kinds)]
        self.norm = RMSNorm(ops, "model.norm", width, config.number("rms_norm_eps", 1e-6))
        tied, cap = config.flag("tie_word_embeddings", True), optional_number(config, "final_logit_softcapping")
        self.head = Head(ops, self.embedding, tied=tied, softcap=cap)

    def slides(self, config: ConfigReader, index: int) -> bool:
        """Say whether a layer has the window, where `layer_types` does not."""
        return index % 2 == 0

    def hidden(self, rows: Rows, cache: LayerCache) -> Array:
        h = self.embedding(rows)
        angles = {kind: rope.angles(rows) for kind, rope in self.ropes.items()}
        for block in self.blocks:
            h = block(h, rows, angles[block.kind], cache)
        return self.norm(self.ops.take(h, rows.logit_rows))

    def logits(self, hidden: Array) -> Array:
        return self.head(hidden)
