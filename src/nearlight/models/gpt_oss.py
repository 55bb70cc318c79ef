"""gpt-oss: experts with biases and clamped gates, attention with sinks, every other layer with a window.

Source: arXiv:2508.10925.
"""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Array, ExpertOps, Routing
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.layers.parameters import Parameter
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.models.shapes import FULL, SLIDING, chosen_experts, kinds_of_layers

NAMES = ExpertNames("router", "experts.*.gate_proj", "experts.*.up_proj", "experts.*.down_proj")


class ClampedExperts(SparseMLP):
    """Experts with biases, whose gates are bounded above and whose other half is bounded and begins at 1."""

    def __init__(self, ops: ExpertOps, name: str, config: ConfigReader, hidden_size: int) -> None:
        n_experts = config.size("num_local_experts" if config.has("num_local_experts") else "num_experts", 128)
        routing, size = Routing(chosen_experts(config, n_experts, 4), normalize=True), config.size("intermediate_size")
        super().__init__(ops, name, NAMES, hidden_size, size, n_experts, routing, bias=True)
        self.alpha, self.limit = config.number("swiglu_alpha", 1.702), config.number("swiglu_limit", 7.0)

    def activate(self, gate: Array, up: Array) -> Array:
        return self.ops.clamped_swiglu(gate, up, alpha=self.alpha, limit=self.limit)


class SinkBlock(Block):
    """Llama's, but that every head has one more score, of nothing, and that the MLP is of experts."""

    def __init__(self, ops: ExpertOps, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        name, shape, bias = f"{self.name}.self_attn", self.shape, config.flag("attention_bias", True)
        self.attention = Attention(
            ops,
            shape,
            Projections.of(ops, name, shape, qkv_bias=bias, out_bias=bias),
            window=self.window(config, index),
            sinks=Parameter(f"{name}.sinks", (shape.n_heads,), "attention"),
        )
        self.mlp = ClampedExperts(ops, f"{self.name}.mlp", config, shape.hidden_size)

    def window(self, config: ConfigReader, index: int) -> int | None:
        kinds = kinds_of_layers(config, lambda i: FULL if i % 2 else SLIDING)
        return config.positions("sliding_window", 128) if kinds[index] == SLIDING else None


class GptOss(Llama):
    needs = ("experts",)
    block = SinkBlock
    defaults: ClassVar = {
        "vocab_size": 201088,
        "max_position_embeddings": 131072,
        "head_dim": 64,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
    }
