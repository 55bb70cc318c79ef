"""Falcon-H1: in every layer Mamba-2 and attention side by side, and factors on most of what is computed (µP).

Source: arXiv:2507.22448.
"""

from __future__ import annotations

from nearlight.kernels.ops import Array, Ops, RecurrentOps, Rows
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.basic import Embedding, Head, RMSNorm
from nearlight.layers.mamba import GatedNorm, Mamba2Mixer
from nearlight.layers.mlp import GatedMLP
from nearlight.layers.parameters import Layer
from nearlight.models.config import ConfigReader
from nearlight.models.mamba import mamba2_shape, require_unclamped_steps
from nearlight.models.model import Model
from nearlight.models.shapes import attention_shape, require_silu, rope_of
from nearlight.state.cache import LayerCache


class ScaledMixer(Mamba2Mixer):
    """Mamba-2 with factors on its input, and on each part of what that is projected to. Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: RecurrentOps, name: str, config: ConfigReader) -> None:
        require_unclamped_steps(config)
        super().__init__(
            ops,
            name,
            mamba2_shape(config, _inner_size(config)),
            _eps(config),
            bias=config.flag("mamba_proj_bias", False),
            conv_bias=config.flag("mamba_conv_bias", True),
            out_bias=config.flag("projectors_bias", False),
            gated_norm=_gated_norm(config),
        )
        self.in_factor, self.factors = config.number("ssm_in_multiplier", 1.0), config.factors("ssm_multipliers", 5)

    def project(self, h: Array) -> tuple[Array, ...]:
        parts = super().project(_scaled(self.ops, h, self.in_factor))
        return tuple(_scaled(self.ops, part, factor) for part, factor in zip(parts, self.factors, strict=True))


class ScaledMLP(GatedMLP):
    """down(silu(f * gate(x)) * up(x)). Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: Ops, name: str, config: ConfigReader, factor: float) -> None:
        width, size = config.size("hidden_size"), config.size("intermediate_size", 14336)
        super().__init__(ops, name, width, size, config.flag("mlp_bias", False))
        self.factor = factor

    def __call__(self, x: Array) -> Array:
        gate = _scaled(self.ops, self.gate_proj(x), self.factor)
        return self.down_proj(self.ops.swiglu(gate, self.up_proj(x)))


class Block(Layer):
    """x = norm(h); h += f * mamba(x) + g * attention(e * x); h += k * mlp(norm(h)). Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: RecurrentOps, config: ConfigReader, index: int) -> None:
        require_silu(config)
        self.ops = ops
        name, shape, bias = f"model.layers.{index}", attention_shape(config), config.flag("attention_bias", False)
        self.norm = RMSNorm(ops, f"{name}.input_layernorm", shape.hidden_size, _eps(config))
        self.mixer = ScaledMixer(ops, f"{name}.mamba", config)
        # A factor on keys is one on scores.
        self.attention = Attention(
            ops,
            shape,
            Projections.of(ops, f"{name}.self_attn", shape, qkv_bias=bias, out_bias=bias),
            scale=shape.head_dim**-0.5 * config.number("key_multiplier", 1.0),
        )
        self.mlp_norm = RMSNorm(ops, f"{name}.pre_ff_layernorm", shape.hidden_size, _eps(config))
        gate_factor, self.mlp_factor = config.factors("mlp_multipliers", 2)
        self.mlp = ScaledMLP(ops, f"{name}.feed_forward", config, gate_factor)
        self.mixer_factor = config.number("ssm_out_multiplier", 1.0)
        self.attention_in_factor = config.number("attention_in_multiplier", 1.0)
        self.attention_factor = config.number("attention_out_multiplier", 1.0)

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        x = self.norm(h)
        h = self.ops.add(h, self.mixer(x, rows, cache), self.mixer_factor)
        x = _scaled(self.ops, x, self.attention_in_factor)
        h = self.ops.add(h, self.attention(x, rows, angles, cache), self.attention_factor)
        return self.ops.add(h, self.mlp(self.mlp_norm(h)), self.mlp_factor)


class FalconH1(Model):
    """Embed, blocks, norm, head."""

    needs = ("recurrences",)

    def __init__(self, ops: RecurrentOps, config: ConfigReader) -> None:
        config = config.with_defaults(max_position_embeddings=8192, num_key_value_heads=8)
        width = config.size("hidden_size")
        self.rope = rope_of(ops, config)
        super().__init__(ops, config.size("vocab_size", 128000), self.rope.scaling.max_positions)
        scale = config.number("embedding_multiplier", 1.0)
        self.embedding = Embedding(ops, "model.embed_tokens", self.vocab_size, width, scale)
        self.blocks = [Block(ops, config, i) for i in range(config.layers("num_hidden_layers"))]
        self.norm = RMSNorm(ops, "model.final_layernorm", width, _eps(config))
        self.head = Head(ops, self.embedding, tied=config.flag("tie_word_embeddings", False))
        self.head_factor = config.number("lm_head_multiplier", 1.0)

    def hidden(self, rows: Rows, cache: LayerCache) -> Array:
        h = self.embedding(rows)
        angles = self.rope.angles(rows)
        for block in self.blocks:
            h = block(h, rows, angles, cache)
        return self.norm(self.ops.take(h, rows.logit_rows))

    def logits(self, hidden: Array) -> Array:
        return _scaled(self.ops, self.head(hidden), self.head_factor)


def _scaled(ops: Ops, x: Array, factor: float) -> Array:
    return x if factor == 1 else ops.scale(x, factor)


def _inner_size(config: ConfigReader) -> int:
    if config.is_off("mamba_d_ssm"):
        return config.positions("mamba_expand", 2) * config.size("hidden_size")
    return config.size("mamba_d_ssm", 1024)


def _gated_norm(config: ConfigReader) -> GatedNorm:
    if not config.flag("mamba_rms_norm", False):
        return "none"
    return "norm first" if config.flag("mamba_norm_before_gate", True) else "gate first"


def _eps(config: ConfigReader) -> float:
    return config.number("rms_norm_eps", 1e-5)
