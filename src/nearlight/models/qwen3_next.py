"""Qwen3-Next: three layers of gated DeltaNet to one of gated attention, and experts of which one is for all rows.

Source: arXiv:2412.06464 (gated DeltaNet), arXiv:2505.06708 (gated attention); Hugging Face's qwen3_next.
"""

from __future__ import annotations

from typing import Any, ClassVar

from nearlight.kernels.ops import Array, ExpertOps, RecurrentOps, Routing, Rows
from nearlight.layers.basic import Embedding, Head, RMSNorm
from nearlight.layers.delta_net import DeltaNetShape, DeltaProjections, GatedDeltaNet
from nearlight.layers.experts import ExpertNames, GatedExpert, SparseMLP
from nearlight.layers.gated_attention import GatedAttention
from nearlight.layers.mlp import GatedMLP
from nearlight.layers.parameters import Layer
from nearlight.models.config import ConfigReader
from nearlight.models.model import Model
from nearlight.models.shapes import (
    FULL,
    LINEAR,
    attention_shape,
    chosen_experts,
    kinds_of_layers,
    require_silu,
    rope_of,
)
from nearlight.state.cache import LayerCache

NAMES = ExpertNames("gate", "experts.*.gate_proj", "experts.*.up_proj", "experts.*.down_proj")


class Block(Layer):
    """h += mixer(norm(h)); h += mlp(norm(h)), the mixer gated attention or gated DeltaNet. Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: Any, config: ConfigReader, index: int, kind: str) -> None:
        require_silu(config)
        self.ops, self.kind = ops, kind
        name, width, eps = f"model.layers.{index}", config.size("hidden_size"), config.number("rms_norm_eps", 1e-6)
        self.mixer_norm = RMSNorm(ops, f"{name}.input_layernorm", width, eps)
        if kind == FULL:
            shape, bias = attention_shape(config), config.flag("attention_bias", False)
            self.attention = GatedAttention(ops, f"{name}.self_attn", shape, eps, bias)
        else:
            mixer, sizes = f"{name}.linear_attn", delta_net_shape(config)
            self.delta_net = GatedDeltaNet(ops, mixer, sizes, self.projections(ops, mixer, sizes, config), eps)
        self.mlp_norm = RMSNorm(ops, f"{name}.post_attention_layernorm", width, eps)
        self.mlp = self.mlp_of(ops, f"{name}.mlp", config, index)

    def projections(self, ops: RecurrentOps, name: str, shape: DeltaNetShape, config: ConfigReader) -> DeltaProjections:
        gates_alone = config.flag("linear_gates_alone", False)  # of GGUF files
        declare = DeltaProjections.gates_by_key_head if gates_alone else DeltaProjections.by_key_head
        return declare(ops, name, shape)

    def mlp_of(self, ops: ExpertOps, name: str, config: ConfigReader, index: int) -> GatedMLP | SparseMLP:
        every, dense = config.positions("decoder_sparse_step", 1), config.items("mlp_only_layers", int)
        if index in dense or (index + 1) % every or not config.count("num_experts", 512):
            return GatedMLP(ops, name, config.size("hidden_size"), config.size("intermediate_size", 5632))
        return sparse_mlp(ops, name, config, normalize=config.flag("norm_topk_prob", True))

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        x = self.mixer_norm(h)
        mixed = self.attention(x, rows, angles, cache) if self.kind == FULL else self.delta_net(x, rows, cache)
        h = self.ops.add(h, mixed)
        return self.ops.add(h, self.mlp(self.mlp_norm(h)))


class Qwen3Next(Model):
    """Embed, blocks, norm, head."""

    needs: ClassVar[tuple[str, ...]] = ("experts", "recurrences")
    block: ClassVar[type[Block]] = Block
    defaults: ClassVar[dict[str, Any]] = {"vocab_size": 151936, "num_key_value_heads": 2}

    def __init__(self, ops: Any, config: ConfigReader) -> None:
        config = config.with_defaults(**{"max_position_embeddings": 32768, "head_dim": 256, **self.defaults})
        width, every = config.size("hidden_size"), config.positions("full_attention_interval", 4)
        kinds = kinds_of_layers(config, lambda i: LINEAR if (i + 1) % every else FULL, (FULL, LINEAR))
        self.rope = rope_of(ops, config, defaults={"partial_rotary_factor": 0.25})
        super().__init__(ops, config.size("vocab_size"), self.rope.scaling.max_positions)
        self.embedding = Embedding(ops, "model.embed_tokens", self.vocab_size, width)
        self.blocks = [self.block(ops, config, i, kind) for i, kind in enumerate(kinds)]
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


def delta_net_shape(config: ConfigReader) -> DeltaNetShape:
    """Read the sizes of the layers with gated DeltaNet."""
    n_key_heads, n_heads = config.size("linear_num_key_heads", 16), config.size("linear_num_value_heads", 32)
    expected = f"a multiple of linear_num_key_heads ({n_key_heads})"
    config.require(n_heads % n_key_heads == 0, "linear_num_value_heads", expected, n_heads)
    return DeltaNetShape(
        hidden_size=config.size("hidden_size"),
        n_key_heads=n_key_heads,
        n_heads=n_heads,
        key_dim=config.size("linear_key_head_dim", 128),
        head_dim=config.size("linear_value_head_dim", 128),
        kernel=config.size("linear_conv_kernel_dim", 4),
        tiled=config.flag("linear_heads_tiled", False),  # of GGUF files
    )


def sparse_mlp(ops: ExpertOps, name: str, config: ConfigReader, *, normalize: bool) -> SparseMLP:
    """Declare a mixture of experts with one that every row meets, as much as a gate says."""
    width, n_experts = config.size("hidden_size"), config.size("num_experts", 512)
    routing = Routing(chosen_experts(config, n_experts, 10), normalize=normalize)
    shared_size = config.size("shared_expert_intermediate_size", 512)
    shared = GatedExpert(ops, f"{name}.shared_expert", f"{name}.shared_expert_gate", width, shared_size)
    size = config.size("moe_intermediate_size", 512)
    return SparseMLP(ops, name, NAMES, width, size, n_experts, routing, shared=shared)
