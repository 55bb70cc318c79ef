"""Qwen3 with mixtures of experts: Qwen3 but for its MLPs. Source: arXiv:2505.09388."""

from __future__ import annotations

from nearlight.kernels.ops import ExpertOps, Routing
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.models.config import ConfigReader
from nearlight.models.qwen3 import Block, Qwen3
from nearlight.models.shapes import attention_shape, chosen_experts, window_in_use

NAMES = ExpertNames("gate", "experts.*.gate_proj", "experts.*.up_proj", "experts.*.down_proj")


class SparseBlock(Block):
    """Qwen3's, but that most layers have experts, and that a window is of all layers."""

    def __init__(self, ops: ExpertOps, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        every, dense = config.positions("decoder_sparse_step", 1), config.items("mlp_only_layers", int)
        if index in dense or (index + 1) % every:
            return
        n_experts = config.size("num_experts" if config.has("num_experts") else "num_local_experts", 128)
        n_chosen = chosen_experts(config, n_experts, 8)
        self.mlp = SparseMLP(
            ops,
            f"model.layers.{index}.mlp",
            NAMES,
            attention_shape(config).hidden_size,
            config.size("moe_intermediate_size", 768),
            n_experts,
            Routing(n_chosen, normalize=config.flag("norm_topk_prob", False)),
        )

    def window(self, config: ConfigReader, index: int) -> int | None:
        return window_in_use(config)


class Qwen3Moe(Qwen3):
    needs = ("experts",)
    block = SparseBlock
