"""Mamba: no attention and no positions, a state instead of a cache. Source: arXiv:2312.00752."""

from __future__ import annotations

from nearlight.kernels.ops import Array, RecurrentOps, Rows
from nearlight.layers.basic import Embedding, Head, RMSNorm
from nearlight.layers.mamba import Mamba2Mixer, MambaMixer, MambaShape
from nearlight.layers.parameters import Layer
from nearlight.models.config import ConfigReader
from nearlight.models.model import Model
from nearlight.state.cache import LayerCache

LONGEST = 1 << 20
"""Tokens of a sequence. The state grows with none of them; what a text of this length means nobody has trained."""


class Block(Layer):
    """h += mixer(norm(h)). Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: RecurrentOps, config: ConfigReader, index: int) -> None:
        self.ops = ops
        name = f"backbone.layers.{index}"
        self.norm = RMSNorm(ops, f"{name}.norm", config.size("hidden_size"), _eps(config))
        self.mixer = self.mixer_of(ops, f"{name}.mixer", config)

    def mixer_of(self, ops: RecurrentOps, name: str, config: ConfigReader) -> MambaMixer | Mamba2Mixer:
        width = config.size("hidden_size")
        inner = config.size("intermediate_size", config.positions("expand", 2) * width)
        shape = MambaShape(
            hidden_size=width,
            inner_size=inner,
            state_size=config.size("state_size", 16),
            kernel=config.size("conv_kernel", 4),
            n_heads=inner,
            dt_rank=config.size("time_step_rank", -(-width // 16)),
        )
        return MambaMixer(ops, name, shape, bias=config.flag("use_bias", False), conv_bias=_conv_bias(config))

    def __call__(self, h: Array, rows: Rows, cache: LayerCache) -> Array:
        return self.ops.add(h, self.mixer(self.norm(h), rows, cache))


class Mamba(Model):
    """Embed, blocks, norm, head."""

    needs = ("recurrences",)
    block = Block

    def __init__(self, ops: RecurrentOps, config: ConfigReader) -> None:
        super().__init__(ops, config.size("vocab_size", 50280), LONGEST)
        config.choice("hidden_act", {"silu": "silu", "swish": "silu"}, "silu")
        width = config.size("hidden_size")
        self.embedding = Embedding(ops, "backbone.embeddings", self.vocab_size, width)
        self.blocks = [self.block(ops, config, i) for i in range(config.layers("num_hidden_layers"))]
        self.norm = RMSNorm(ops, "backbone.norm_f", width, _eps(config))
        self.head = Head(ops, self.embedding, tied=config.flag("tie_word_embeddings", True))

    def hidden(self, rows: Rows, cache: LayerCache) -> Array:
        h = self.embedding(rows)
        for block in self.blocks:
            h = block(h, rows, cache)
        return self.norm(self.ops.take(h, rows.logit_rows))

    def logits(self, hidden: Array) -> Array:
        return self.head(hidden)


class Mamba2Block(Block):
    """h += mixer(norm(h)), the mixer Mamba-2's. Shapes: [R, M] -> [R, M]."""

    def mixer_of(self, ops: RecurrentOps, name: str, config: ConfigReader) -> Mamba2Mixer:
        n_heads, head_dim = config.size("num_heads", 128), config.size("head_dim", 64)
        n_groups = config.size("n_groups", 8)
        config.require(n_heads % n_groups == 0, "num_heads", f"a multiple of n_groups ({n_groups})", n_heads)
        shape = MambaShape(
            hidden_size=config.size("hidden_size"),
            inner_size=n_heads * head_dim,
            state_size=config.size("state_size", 128),
            kernel=config.size("conv_kernel", 4),
            n_heads=n_heads,
            n_groups=n_groups,
        )
        require_unclamped_steps(config)
        bias = config.flag("use_bias", False)
        return Mamba2Mixer(ops, name, shape, _eps(config), bias=bias, conv_bias=_conv_bias(config))


class Mamba2(Mamba):
    """Mamba with heads. Source: arXiv:2405.21060."""

    block = Mamba2Block

    def __init__(self, ops: RecurrentOps, config: ConfigReader) -> None:
        super().__init__(ops, config.with_defaults(vocab_size=32768, tie_word_embeddings=False))


def mamba2_shape(config: ConfigReader, inner_size: int) -> MambaShape:
    """Read the sizes of a Mamba-2 mixer whose keys begin with `mamba_`; its heads share the inner size."""
    n_heads, n_groups = config.size("mamba_n_heads", 128), config.size("mamba_n_groups", 1)
    config.require(inner_size % n_heads == 0, "mamba_n_heads", f"a divisor of {inner_size}", n_heads)
    config.require(n_heads % n_groups == 0, "mamba_n_heads", f"a multiple of mamba_n_groups ({n_groups})", n_heads)
    return MambaShape(
        hidden_size=config.size("hidden_size"),
        inner_size=inner_size,
        state_size=config.size("mamba_d_state", 256),
        kernel=config.size("mamba_d_conv", 4),
        n_heads=n_heads,
        n_groups=n_groups,
    )


def require_unclamped_steps(config: ConfigReader) -> None:
    """Refuse a config that bounds the recurrence's steps: what is released does not, and nothing here does."""
    limit = config.items("time_step_limit", float)
    config.require(limit in ([], [0.0, float("inf")]), "time_step_limit", "[0.0, Infinity]", limit)


def _eps(config: ConfigReader) -> float:
    return config.number("layer_norm_epsilon", 1e-5)


def _conv_bias(config: ConfigReader) -> bool:
    return config.flag("use_conv_bias", True)
