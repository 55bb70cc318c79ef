"""GLM-4.5 and 4.6: llama with mixtures of experts after the first layers, half of each head turned.

Experts are chosen by sigmoids with a correction, and one is shared by all rows. Source: arXiv:2508.06471.
"""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import ExpertOps
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.basic import RMSNorm
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.layers.mlp import GatedMLP
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.models.shapes import sigmoid_routing

NAMES = ExpertNames(
    "gate", "experts.*.gate_proj", "experts.*.up_proj", "experts.*.down_proj", "gate.e_score_correction_bias"
)


class SparseBlock(Block):
    """Llama's, with norms of heads where the config has them, and experts from some layer on."""

    def __init__(self, ops: ExpertOps, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        name, shape = f"{self.name}.self_attn", self.shape
        norms = tuple(RMSNorm(ops, f"{name}.{part}_norm", shape.head_dim, self.eps) for part in "qk")
        self.attention = Attention(
            ops,
            shape,
            Projections.of(ops, name, shape, qkv_bias=config.flag("attention_bias", False)),
            (norms[0], norms[1]) if config.flag("use_qk_norm", False) else None,
        )
        if index >= config.count("first_k_dense_replace", 1):
            self.mlp = _experts(ops, f"{self.name}.mlp", config, shape.hidden_size)


def _experts(ops: ExpertOps, name: str, config: ConfigReader, width: int) -> SparseMLP:
    n_experts, size = config.size("n_routed_experts", 128), config.size("moe_intermediate_size", 1408)
    routing = sigmoid_routing(config, n_experts, 8)
    shared = GatedMLP(ops, f"{name}.shared_experts", width, size * config.size("n_shared_experts", 1))
    return SparseMLP(ops, name, NAMES, width, size, n_experts, routing, shared=shared)


class Glm4Moe(Llama):
    needs = ("experts",)
    block = SparseBlock
    rope_defaults: ClassVar = {"partial_rotary_factor": 0.5}
    defaults: ClassVar = {
        "vocab_size": 151552,
        "max_position_embeddings": 131072,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
    }
