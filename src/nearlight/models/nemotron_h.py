"""Nemotron-H and Nemotron 3: layers of one part each, most of them Mamba-2, few of them attention without positions.

Source: arXiv:2504.03624 (Nemotron-H), arXiv:2512.20848 (experts).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction

from nearlight.kernels.ops import Array, HybridOps, Rows
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.basic import Embedding, Head, Linear, RMSNorm
from nearlight.layers.experts import ExpertLinear
from nearlight.layers.mamba import Mamba2Mixer, MambaShape
from nearlight.layers.mlp import SquaredReluMLP
from nearlight.layers.parameters import Layer, Parameter
from nearlight.models.config import ConfigReader
from nearlight.models.mamba import require_unclamped_steps
from nearlight.models.model import Model
from nearlight.models.shapes import attention_shape, sigmoid_routing
from nearlight.state.cache import LayerCache


class Block(Layer, ABC):
    """h += mix(norm(h)). Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: HybridOps, config: ConfigReader, index: int) -> None:
        self.ops = ops
        self.norm = RMSNorm(ops, f"backbone.layers.{index}.norm", config.size("hidden_size"), _eps(config))
        self.declare(ops, f"backbone.layers.{index}.mixer", config)

    @abstractmethod
    def declare(self, ops: HybridOps, name: str, config: ConfigReader) -> None:
        """Declare what it mixes by."""

    @abstractmethod
    def mix(self, x: Array, rows: Rows, cache: LayerCache) -> Array: ...

    def __call__(self, h: Array, rows: Rows, cache: LayerCache) -> Array:
        return self.ops.add(h, self.mix(self.norm(h), rows, cache))


class RecurrentBlock(Block):
    """Mamba-2."""

    def declare(self, ops: HybridOps, name: str, config: ConfigReader) -> None:
        config.choice("mamba_hidden_act", {"silu": "silu"}, "silu")
        require_unclamped_steps(config)
        n_heads, n_groups = config.size("mamba_num_heads", 128), config.size("n_groups", 8)
        config.require(n_heads % n_groups == 0, "mamba_num_heads", f"a multiple of n_groups ({n_groups})", n_heads)
        shape = MambaShape(
            hidden_size=config.size("hidden_size"),
            inner_size=n_heads * config.size("mamba_head_dim", 64),
            state_size=config.size("ssm_state_size", 128),
            kernel=config.size("conv_kernel", 4),
            n_heads=n_heads,
            n_groups=n_groups,
        )
        bias, conv_bias = config.flag("use_bias", False), config.flag("use_conv_bias", True)
        self.mixer = Mamba2Mixer(ops, name, shape, _eps(config), bias=bias, conv_bias=conv_bias)

    def mix(self, x: Array, rows: Rows, cache: LayerCache) -> Array:
        return self.mixer(x, rows, cache)


class AttentionBlock(Block):
    """Attention in which only the order of the recurrences tells where a token is."""

    def declare(self, ops: HybridOps, name: str, config: ConfigReader) -> None:
        shape = attention_shape(config)
        self.attention = Attention(ops, shape, Projections.of(ops, name, shape))

    def mix(self, x: Array, rows: Rows, cache: LayerCache) -> Array:
        return self.attention(x, rows, None, cache)


class MLPBlock(Block):
    """An MLP without a gate."""

    def declare(self, ops: HybridOps, name: str, config: ConfigReader) -> None:
        width, size = config.size("hidden_size"), config.size("intermediate_size", 21504)
        self.mlp = SquaredReluMLP(ops, name, width, size, config.flag("mlp_bias", False))

    def mix(self, x: Array, rows: Rows, cache: LayerCache) -> Array:
        return self.mlp(x)


class ExpertBlock(Block):
    """Experts without gates, perhaps in a space of fewer dimensions, and a shared one. Source: arXiv:2512.20848."""

    def declare(self, ops: HybridOps, name: str, config: ConfigReader) -> None:
        width, bias = config.size("hidden_size"), config.flag("mlp_bias", False)
        n_experts, size = config.size("n_routed_experts", 8), config.size("moe_intermediate_size", 7688)
        latent = config.size("moe_latent_size", width)
        self.routing = sigmoid_routing(config, n_experts, 2)
        self.router = Linear(ops, f"{name}.gate", n_experts, width, "router")
        self.correction = Parameter(f"{name}.gate.e_score_correction_bias", (n_experts,), "router")
        self.enter, self.leave = None, None
        if config.has("moe_latent_size"):
            self.enter = Linear(ops, f"{name}.fc1_latent_proj", latent, width, "mlp", bias)
            self.leave = Linear(ops, f"{name}.fc2_latent_proj", width, latent, "mlp", bias)
        active = Fraction(self.routing.n_chosen, n_experts)
        self.up = ExpertLinear(ops, f"{name}.experts.*.up_proj", n_experts, size, latent, active)
        self.down = ExpertLinear(ops, f"{name}.experts.*.down_proj", n_experts, latent, size, active)
        shared_size = config.size("moe_shared_expert_intermediate_size", 7688)
        self.shared = SquaredReluMLP(ops, f"{name}.shared_experts", width, shared_size, bias)

    def mix(self, x: Array, rows: Rows, cache: LayerCache) -> Array:
        routes = self.ops.route(self.router(x), self.routing, self.correction.value)
        hidden = self.ops.squared_relu(self.up(self.enter(x) if self.enter else x, routes))
        chosen = self.ops.combine(self.down(hidden, routes), routes)
        return self.ops.add(self.leave(chosen) if self.leave else chosen, self.shared(x))


BLOCKS: dict[str, type[Block]] = {"M": RecurrentBlock, "*": AttentionBlock, "-": MLPBlock, "E": ExpertBlock}
LETTERS = {
    "linear_attention": "M", "mamba": "M", "full_attention": "*", "attention": "*", "mlp": "-", "moe": "E",
}  # fmt: skip
"""Of the kinds of layers, under their names of today and before."""


class NemotronH(Model):
    """Embed, blocks, norm, head."""

    needs = ("experts", "recurrences")

    def __init__(self, ops: HybridOps, config: ConfigReader) -> None:
        config.choice("mlp_hidden_act", {"relu2": "relu2"}, "relu2")
        config = config.with_defaults(num_key_value_heads=8, head_dim=128, hidden_size=4096, num_attention_heads=32)
        width = config.size("hidden_size")
        super().__init__(ops, config.size("vocab_size", 131072), config.positions("max_position_embeddings", 4096))
        self.embedding = Embedding(ops, "backbone.embeddings", self.vocab_size, width)
        self.blocks = [BLOCKS[letter](ops, config, i) for i, letter in enumerate(_pattern(config))]
        self.norm = RMSNorm(ops, "backbone.norm_f", width, _eps(config))
        self.head = Head(ops, self.embedding, tied=config.flag("tie_word_embeddings", False))

    def hidden(self, rows: Rows, cache: LayerCache) -> Array:
        h = self.embedding(rows)
        for block in self.blocks:
            h = block(h, rows, cache)
        return self.norm(self.ops.take(h, rows.logit_rows))

    def logits(self, hidden: Array) -> Array:
        return self.head(hidden)


def _pattern(config: ConfigReader) -> str:
    """Read a letter for each layer, from a pattern of them or a list of kinds.

    Raises: PackageError for unknown ones, and for more or fewer than there are layers.
    """
    if config.has("layers_block_type"):
        key, kinds = "layers_block_type", config.items("layers_block_type", str)
        config.require(set(kinds) <= LETTERS.keys(), key, "a list of " + ", ".join(LETTERS), kinds)
        letters = "".join(LETTERS[kind] for kind in kinds)
    else:
        key, letters = "hybrid_override_pattern", config.text("hybrid_override_pattern")
        config.require(set(letters) <= BLOCKS.keys(), key, "letters of " + " ".join(BLOCKS), letters)
    n_layers = config.with_defaults(num_hidden_layers=len(letters)).layers("num_hidden_layers")
    config.require(len(letters) == n_layers, key, f"{n_layers} layers", len(letters))
    return letters


def _eps(config: ConfigReader) -> float:
    return config.number("layer_norm_epsilon", 1e-5)
