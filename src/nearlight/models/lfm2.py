"""LFM2: most layers mix tokens by a short gated convolution, the others by attention. Source: arXiv:2511.23404."""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Array, RecurrentOps, Rows
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.basic import Embedding, Head, Linear, RMSNorm
from nearlight.layers.experts import SparseMLP
from nearlight.layers.mamba import CausalConv
from nearlight.layers.mlp import GatedMLP
from nearlight.layers.parameters import Layer, Part
from nearlight.models.config import ConfigReader
from nearlight.models.model import Model
from nearlight.models.shapes import FULL, attention_shape, layer_types, rope_of
from nearlight.state.cache import LayerCache

CONV = "conv"


class ShortConv(Layer):
    """out(c * conv(b * x)), all three of one projection. Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: RecurrentOps, name: str, config: ConfigReader) -> None:
        self.ops = ops
        width, bias = config.size("hidden_size"), config.flag("conv_bias", False)
        self.b, self.c, self.x = (
            Linear(ops, f"{name}.in_proj", width, width, "mixer", bias, Part(i * width, 3 * width)) for i in range(3)
        )
        self.conv = CausalConv(ops, f"{name}.conv", width, config.size("conv_L_cache", 3), None, bias, silu=False)
        self.out = Linear(ops, f"{name}.out_proj", width, width, "mixer", bias)

    def __call__(self, h: Array, rows: Rows, cache: LayerCache) -> Array:
        b, c, x = self.b(h), self.c(h), self.x(h)
        return self.out(self.ops.multiply(c, self.conv(self.ops.multiply(b, x), rows, cache)))


class NumberedMLP(GatedMLP):
    """A gated MLP whose matrices are called w1 (the gate), w3 and w2."""

    def __init__(self, ops: RecurrentOps, name: str, hidden_size: int, intermediate_size: int) -> None:
        self.ops = ops
        self.gate_proj = Linear(ops, f"{name}.w1", intermediate_size, hidden_size, "mlp")
        self.up_proj = Linear(ops, f"{name}.w3", intermediate_size, hidden_size, "mlp")
        self.down_proj = Linear(ops, f"{name}.w2", hidden_size, intermediate_size, "mlp")


class Block(Layer):
    """h += mix(norm(h)); h += mlp(norm(h)), mix being a convolution or attention. Shapes: [R, M] -> [R, M]."""

    mlp: GatedMLP | SparseMLP

    def __init__(self, ops: RecurrentOps, config: ConfigReader, index: int, kind: str) -> None:
        self.ops = ops
        name, shape, eps = f"model.layers.{index}", attention_shape(config), config.number("norm_eps", 1e-5)
        self.mix_norm = RMSNorm(ops, f"{name}.operator_norm", shape.hidden_size, eps)
        self.conv = ShortConv(ops, f"{name}.conv", config) if kind == CONV else None
        self.attention = _attention(ops, f"{name}.self_attn", config, eps) if kind == FULL else None
        self.mlp_norm = RMSNorm(ops, f"{name}.ffn_norm", shape.hidden_size, eps)
        self.mlp = NumberedMLP(ops, f"{name}.feed_forward", shape.hidden_size, _mlp_width(config))

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        h = self.ops.add(h, self.mix(self.mix_norm(h), rows, angles, cache))
        return self.ops.add(h, self.mlp(self.mlp_norm(h)))

    def mix(self, x: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        if self.conv:
            return self.conv(x, rows, cache)
        assert self.attention
        return self.attention(x, rows, angles, cache)


class Lfm2(Model):
    """Embed, blocks, norm, head."""

    needs: ClassVar[tuple[str, ...]] = ("recurrences",)
    block: ClassVar[type[Block]] = Block

    def __init__(self, ops: RecurrentOps, config: ConfigReader) -> None:
        config = config.with_defaults(vocab_size=65536, max_position_embeddings=128_000, num_key_value_heads=8)
        width = config.size("hidden_size")
        self.rope = rope_of(ops, config, defaults={"rope_theta": 1e6})
        super().__init__(ops, config.size("vocab_size"), self.rope.scaling.max_positions)
        self.embedding = Embedding(ops, "model.embed_tokens", self.vocab_size, width)
        self.blocks = [self.block(ops, config, i, kind) for i, kind in enumerate(_kinds(config))]
        self.norm = RMSNorm(ops, "model.embedding_norm", width, config.number("norm_eps", 1e-5))
        tied = config.flag("tie_embedding" if config.has("tie_embedding") else "tie_word_embeddings", True)
        self.head = Head(ops, self.embedding, tied=tied)

    def hidden(self, rows: Rows, cache: LayerCache) -> Array:
        h = self.embedding(rows)
        angles = self.rope.angles(rows)
        for block in self.blocks:
            h = block(h, rows, angles, cache)
        return self.norm(self.ops.take(h, rows.logit_rows))

    def logits(self, hidden: Array) -> Array:
        return self.head(hidden)


def _attention(ops: RecurrentOps, name: str, config: ConfigReader, eps: float) -> Attention:
    shape = attention_shape(config)
    projections = Projections.of(ops, name, shape)
    projections.out = Linear(ops, f"{name}.out_proj", shape.hidden_size, shape.q_width, "attention")
    q_norm, k_norm = (RMSNorm(ops, f"{name}.{part}_layernorm", shape.head_dim, eps) for part in "qk")
    return Attention(ops, shape, projections, (q_norm, k_norm))


def _kinds(config: ConfigReader) -> list[str]:
    """Read which layers are convolutions: by their types, or by the numbers of those that are not."""
    kinds, n_layers = layer_types(config), config.layers("num_hidden_layers")
    if not kinds:
        full = config.items("full_attn_idxs", int) if config.has("full_attn_idxs") else list(range(n_layers))
        config.require(all(0 <= i < n_layers for i in full), "full_attn_idxs", f"numbers below {n_layers}", full)
        kinds = [FULL if i in full else CONV for i in range(n_layers)]
    config.require(set(kinds) <= {CONV, FULL}, "layer_types", f"a list of {CONV} and {FULL}", kinds)
    return kinds


def _mlp_width(config: ConfigReader) -> int:
    """Read the width of the MLPs, which is two thirds of what a config names, rounded up, unless it says otherwise."""
    key = "block_ff_dim" if config.has("block_ff_dim") else "intermediate_size"
    width = config.positions(key, 12288)
    if config.flag("block_auto_adjust_ff_dim", True):
        width = 2 * width // 3
        if not config.is_off("block_ffn_dim_multiplier"):
            unit, factor = config.positions("block_multiple_of", 256), config.number("block_ffn_dim_multiplier", 1.0)
            config.require(factor <= 1000, "block_ffn_dim_multiplier", "at most 1000", factor)
            width = -(-int(width * factor) // unit) * unit
    return config.replacing(**{key: width}).size(key)
