"""Mixtral: llama with mixtures of experts for MLPs. Source: arXiv:2401.04088."""

from __future__ import annotations

from nearlight.kernels.ops import ExpertOps
from nearlight.layers.decoder import Decoder
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import rotary_decoder

NAMES = ExpertNames("gate", "experts.*.w1", "experts.*.w3", "experts.*.w2")


def build(ops: ExpertOps, config: ConfigReader) -> Decoder:
    hidden_size, expert_size = config.size("hidden_size"), config.size("intermediate_size")
    n_experts, n_chosen = config.size("num_local_experts", 8), config.size("num_experts_per_tok", 2)

    def mlp(i: int, name: str) -> SparseMLP:
        name = name.removesuffix(".mlp") + ".block_sparse_moe"
        return SparseMLP(ops, name, NAMES, hidden_size, expert_size, n_experts, n_chosen, normalize=True)

    window = config.positions("sliding_window") if config.has("sliding_window") else None
    return rotary_decoder(ops, config, max_positions=131072, mlp=mlp, window=lambda i: window)
