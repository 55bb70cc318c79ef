"""LFM2 with mixtures of experts after the first layers. Source: arXiv:2511.23404."""

from __future__ import annotations

from nearlight.kernels.ops import HybridOps
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.models.config import ConfigReader
from nearlight.models.lfm2 import Block, Lfm2
from nearlight.models.shapes import sigmoid_routing

PLAIN = ExpertNames("gate", "experts.*.w1", "experts.*.w3", "experts.*.w2")
CORRECTED = ExpertNames("gate", "experts.*.w1", "experts.*.w3", "experts.*.w2", "expert_bias")


class SparseBlock(Block):
    """LFM2's, with experts from some layer on, chosen by sigmoids."""

    def __init__(self, ops: HybridOps, config: ConfigReader, index: int, kind: str) -> None:
        super().__init__(ops, config.with_defaults(intermediate_size=7168, block_auto_adjust_ff_dim=False), index, kind)
        if index < config.count("num_dense_layers", 2):
            return
        n_experts, size = config.size("num_experts", 32), config.size("moe_intermediate_size", 1792)
        self.mlp = SparseMLP(
            ops,
            f"model.layers.{index}.feed_forward",
            CORRECTED if config.flag("use_expert_bias", True) else PLAIN,
            config.size("hidden_size"),
            size,
            n_experts,
            sigmoid_routing(config, n_experts, 4),
        )


class Lfm2Moe(Lfm2):
    needs = ("experts", "recurrences")
    block = SparseBlock
