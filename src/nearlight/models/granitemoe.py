"""Granite 3 with mixtures of experts for MLPs. Source: arXiv:2408.13359."""

from __future__ import annotations

from nearlight.kernels.ops import ExpertOps, Routing
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.layers.mlp import GatedMLP
from nearlight.models.config import ConfigReader
from nearlight.models.granite import Granite, ScaledBlock
from nearlight.models.shapes import chosen_experts

NAMES = ExpertNames("router.layer", "experts.*.gate_proj", "experts.*.up_proj", "experts.*.down_proj")


class SparseBlock(ScaledBlock):
    """Granite's, but for its MLP."""

    def __init__(self, ops: ExpertOps, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        n_experts = config.size("num_local_experts", 8)
        self.mlp = experts(ops, f"{self.name}.block_sparse_moe", config, n_experts)


class GraniteMoe(Granite):
    needs = ("experts",)
    block = SparseBlock


def experts(
    ops: ExpertOps, name: str, config: ConfigReader, n_experts: int, shared: GatedMLP | None = None
) -> SparseMLP:
    """Declare a layer's experts, chosen by scores whose softmax is taken after that: as if normalised."""
    routing = Routing(chosen_experts(config, n_experts, 2), normalize=True)
    width, size = config.size("hidden_size"), config.size("intermediate_size", 11008)
    return SparseMLP(ops, name, NAMES, width, size, n_experts, routing, shared=shared)
