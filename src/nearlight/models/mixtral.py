"""Mixtral: llama with mixtures of experts for MLPs. Source: arXiv:2401.04088."""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import ExpertOps, Routing
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.models.shapes import chosen_experts

NAMES = ExpertNames("gate", "experts.*.w1", "experts.*.w3", "experts.*.w2")


class SparseBlock(Block):
    """Llama's, but for its MLP."""

    def __init__(self, ops: ExpertOps, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        n_experts = config.size("num_local_experts", 8)
        n_chosen = chosen_experts(config, n_experts, 2)
        name, expert_size = f"{self.name}.block_sparse_moe", config.size("intermediate_size")
        routing = Routing(n_chosen, normalize=True)
        self.mlp = SparseMLP(ops, name, NAMES, self.shape.hidden_size, expert_size, n_experts, routing)

    def window(self, config: ConfigReader, index: int) -> int | None:
        return config.positions("sliding_window") if config.has("sliding_window") else None


class Mixtral(Llama):
    needs = ("experts",)
    block = SparseBlock
    defaults: ClassVar = {"max_position_embeddings": 131072}
