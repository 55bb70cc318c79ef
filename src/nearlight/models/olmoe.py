"""OLMoE: llama with mixtures of experts for MLPs, heads normed all at once. Source: arXiv:2409.02060."""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import ExpertOps, Routing
from nearlight.layers.attention import Attention
from nearlight.layers.basic import RMSNorm
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.models.shapes import chosen_experts

NAMES = ExpertNames("gate", "experts.*.gate_proj", "experts.*.up_proj", "experts.*.down_proj")


class SparseBlock(Block):
    """Llama's, with norms of queries and keys, and experts."""

    def __init__(self, ops: ExpertOps, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        config.require(not config.has("clip_qkv"), "clip_qkv", "null", "a bound of queries, keys and values")
        name, shape = f"{self.name}.self_attn", self.shape
        norms = (
            RMSNorm(ops, f"{name}.q_norm", shape.q_width, self.eps),
            RMSNorm(ops, f"{name}.k_norm", shape.kv_width, self.eps),
        )
        self.attention = Attention(ops, shape, self.attention.projections, norms)
        n_experts = config.size("num_experts", 64)
        self.mlp = SparseMLP(
            ops,
            f"{self.name}.mlp",
            NAMES,
            shape.hidden_size,
            config.size("intermediate_size"),
            n_experts,
            Routing(chosen_experts(config, n_experts, 8), normalize=config.flag("norm_topk_prob", False)),
        )


class Olmoe(Llama):
    needs = ("experts",)
    block = SparseBlock
    defaults: ClassVar = {"vocab_size": 50304, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
