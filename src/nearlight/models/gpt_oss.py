"""gpt-oss, for planning: experts with biases, attention with sinks, every other layer with a window.

Left out of what a step reads: the sinks and the experts' biases, a thousandth of an expert's matrices; in memory they
count. Source: arXiv:2508.10925.
"""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import ExpertOps, Routing
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.layers.parameters import Parameter
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.models.shapes import layer_types

NAMES = ExpertNames("router", "experts.*.gate_proj", "experts.*.up_proj", "experts.*.down_proj")


class SinkBlock(Block):
    """Llama's, but that every head has one more score, of nothing, and that the MLP is of experts with biases."""

    def __init__(self, ops: ExpertOps, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        types, name, shape = layer_types(config), f"{self.name}.self_attn", self.shape
        sliding = types[index] == "sliding_attention" if types else index % 2 == 0
        bias = config.flag("attention_bias", True)
        self.attention = Attention(
            ops,
            shape,
            Projections.of(ops, name, shape, qkv_bias=bias, out_bias=bias),
            window=config.positions("sliding_window", 128) if sliding else None,
        )
        self.sinks = Parameter(f"{name}.sinks.weight", (shape.n_heads,), "attention")
        n_experts = config.size("num_local_experts" if config.has("num_local_experts") else "num_experts", 128)
        n_chosen, expert_size = config.size("num_experts_per_tok", 4), config.size("intermediate_size")
        mlp = f"{self.name}.mlp"
        self.mlp = SparseMLP(
            ops, mlp, NAMES, shape.hidden_size, expert_size, n_experts, Routing(n_chosen, normalize=True), bias=True
        )


class GptOss(Llama):
    needs = ("experts",)
    leaves_out = "sinks and the experts' biases"
    block = SinkBlock
    defaults: ClassVar = {
        "vocab_size": 201088,
        "max_position_embeddings": 131072,
        "head_dim": 64,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
    }
