"""Qwen3 with mixtures of experts: Qwen3 but for its MLPs. Source: arXiv:2505.09388."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearlight.errors import PackageError
from nearlight.kernels.ops import ExpertOps
from nearlight.layers.decoder import Decoder
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.layers.mlp import GatedMLP
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import rotary_decoder, window_in_use

NAMES = ExpertNames("gate", "experts.*.gate_proj", "experts.*.up_proj", "experts.*.down_proj")


def build(ops: ExpertOps, config: Mapping[str, Any]) -> Decoder:
    read = ConfigReader(config)
    hidden_size, attention_bias = read.size("hidden_size"), read.flag("attention_bias", False)
    n_experts = read.size("num_experts", config.get("num_local_experts") or 128)
    n_chosen = read.size("num_experts_per_tok", 8)
    if n_chosen > n_experts:
        raise PackageError("num_experts_per_tok", where="config.json", expected=f"at most {n_experts}", found=n_chosen)
    every, dense = read.size("decoder_sparse_step", 1), config.get("mlp_only_layers") or ()

    def mlp(i: int, name: str) -> GatedMLP | SparseMLP:
        if i in dense or (i + 1) % every:
            return GatedMLP(ops, name, hidden_size, read.size("intermediate_size"))
        expert_size = read.size("moe_intermediate_size", 768)
        normalize = read.flag("norm_topk_prob", False)
        return SparseMLP(ops, name, NAMES, hidden_size, expert_size, n_experts, n_chosen, normalize)

    window = window_in_use(config)  # of all layers, unlike the dense models'
    return rotary_decoder(
        ops,
        {**config, "head_dim": config.get("head_dim") or 128},
        vocab_size=151936,
        max_positions=32768,
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        qk_norm=True,
        mlp=mlp,
        window=lambda i: window,
    )
