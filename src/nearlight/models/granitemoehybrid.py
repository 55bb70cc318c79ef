"""Granite 4: Granite's factors, most layers Mamba-2, few attention; an MLP for every row, perhaps with experts beside.

Source: transformers' implementation; arXiv:2405.21060 (Mamba-2).
"""

from __future__ import annotations

from nearlight.kernels.ops import Array, HybridOps, Rows
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.basic import Embedding, Head, RMSNorm
from nearlight.layers.experts import SparseMLP
from nearlight.layers.mamba import Mamba2Mixer
from nearlight.layers.mlp import GatedMLP
from nearlight.layers.parameters import Layer
from nearlight.models.config import ConfigReader
from nearlight.models.granitemoe import experts
from nearlight.models.mamba import mamba2_shape, require_unclamped_steps
from nearlight.models.model import Model
from nearlight.models.shapes import FULL, attention_shape, layer_types, require_silu, rope_of
from nearlight.state.cache import LayerCache

RECURRENT = "linear_attention"
KINDS = {FULL: FULL, "attention": FULL, RECURRENT: RECURRENT, "mamba": RECURRENT}
"""Of layers, by their names of today and before."""


class Block(Layer):
    """h += f * mix(norm(h)); h += f * mlp(norm(h)), mix being a recurrence or attention. Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: HybridOps, config: ConfigReader, index: int, kind: str) -> None:
        require_silu(config)
        self.ops, self.factor = ops, config.number("residual_multiplier", 1.0)
        name, width, eps = f"model.layers.{index}", config.size("hidden_size"), config.number("rms_norm_eps", 1e-6)
        self.mix_norm = RMSNorm(ops, f"{name}.input_layernorm", width, eps)
        self.mixer = _mixer(ops, f"{name}.mamba", config, eps) if kind == RECURRENT else None
        self.attention = _attention(ops, f"{name}.self_attn", config) if kind == FULL else None
        self.mlp_norm = RMSNorm(ops, f"{name}.post_attention_layernorm", width, eps)
        self.mlp = _mlp(ops, name, config)

    def __call__(self, h: Array, rows: Rows, angles: Array | None, cache: LayerCache) -> Array:
        h = self.ops.add(h, self.mix(self.mix_norm(h), rows, angles, cache), self.factor)
        return self.ops.add(h, self.mlp(self.mlp_norm(h)), self.factor)

    def mix(self, x: Array, rows: Rows, angles: Array | None, cache: LayerCache) -> Array:
        if self.mixer:
            return self.mixer(x, rows, cache)
        assert self.attention
        return self.attention(x, rows, angles, cache)


class GraniteMoeHybrid(Model):
    """Embed, blocks, norm, head."""

    needs = ("experts", "recurrences")

    def __init__(self, ops: HybridOps, config: ConfigReader) -> None:
        config = config.with_defaults(vocab_size=32000, max_position_embeddings=2048)
        width = config.size("hidden_size")
        turned = config.text("position_embedding_type", "nope") == "rope"
        self.rope = rope_of(ops, config) if turned else None
        longest = self.rope.scaling.max_positions if self.rope else config.positions("max_position_embeddings")
        super().__init__(ops, config.size("vocab_size"), longest)
        scale = config.number("embedding_multiplier", 1.0)
        self.embedding = Embedding(ops, "model.embed_tokens", self.vocab_size, width, scale)
        self.blocks = [Block(ops, config, i, kind) for i, kind in enumerate(_kinds(config))]
        self.norm = RMSNorm(ops, "model.norm", width, config.number("rms_norm_eps", 1e-6))
        self.head = Head(ops, self.embedding, tied=config.flag("tie_word_embeddings", False))
        self.factor = 1 / config.number("logits_scaling", 1.0)

    def hidden(self, rows: Rows, cache: LayerCache) -> Array:
        h = self.embedding(rows)
        angles = self.rope.angles(rows) if self.rope else None
        for block in self.blocks:
            h = block(h, rows, angles, cache)
        return self.norm(self.ops.take(h, rows.logit_rows))

    def logits(self, hidden: Array) -> Array:
        return self.ops.scale(self.head(hidden), self.factor)


def _kinds(config: ConfigReader) -> list[str]:
    """Read which layers are recurrences; all, if the config does not say."""
    kinds = layer_types(config) or [RECURRENT] * config.layers("num_hidden_layers")
    config.require(set(kinds) <= KINDS.keys(), "layer_types", "a list of " + ", ".join(KINDS), kinds)
    return [KINDS[kind] for kind in kinds]


def _mixer(ops: HybridOps, name: str, config: ConfigReader, eps: float) -> Mamba2Mixer:
    require_unclamped_steps(config)
    shape = mamba2_shape(config, config.positions("mamba_expand", 2) * config.size("hidden_size"))
    bias, conv_bias = config.flag("mamba_proj_bias", False), config.flag("mamba_conv_bias", True)
    return Mamba2Mixer(ops, name, shape, eps, bias=bias, conv_bias=conv_bias)


def _attention(ops: HybridOps, name: str, config: ConfigReader) -> Attention:
    shape, bias = attention_shape(config), config.flag("attention_bias", False)
    projections = Projections.of(ops, name, shape, qkv_bias=bias, out_bias=bias)
    return Attention(ops, shape, projections, scale=config.number("attention_multiplier", 1.0))


def _mlp(ops: HybridOps, name: str, config: ConfigReader) -> GatedMLP | SparseMLP:
    shared_size = config.size("shared_intermediate_size", 1024)
    shared = GatedMLP(ops, f"{name}.shared_mlp", config.size("hidden_size"), shared_size)
    n_experts = config.count("num_local_experts", 8)
    if not n_experts:
        return shared
    n_experts = config.size("num_local_experts", 8)  # which the tensors must confirm
    return experts(ops, f"{name}.block_sparse_moe", config, n_experts, shared)
