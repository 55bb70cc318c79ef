"""Mixtral: llama with mixtures of experts for MLPs. Source: arXiv:2401.04088."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearlight.kernels.ops import ExpertOps
from nearlight.layers.decoder import Decoder
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import rotary_decoder

NAMES = ExpertNames("gate", "experts.*.w1", "experts.*.w3", "experts.*.w2")


def build(ops: ExpertOps, config: Mapping[str, Any]) -> Decoder:
    read = ConfigReader(config)
    hidden_size, expert_size = read.size("hidden_size"), read.size("intermediate_size")
    n_experts, n_chosen = read.size("num_local_experts", 8), read.size("num_experts_per_tok", 2)

    def mlp(i: int, name: str) -> SparseMLP:
        name = name.removesuffix(".mlp") + ".block_sparse_moe"
        return SparseMLP(ops, name, NAMES, hidden_size, expert_size, n_experts, n_chosen, normalize=True)

    window = None if config.get("sliding_window") is None else read.size("sliding_window")
    return rotary_decoder(ops, config, max_positions=131072, mlp=mlp, window=lambda i: window)
