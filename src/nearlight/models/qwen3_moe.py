"""Qwen3 with mixtures of experts: Qwen3 but for its MLPs. Source: arXiv:2505.09388."""

from __future__ import annotations

from nearlight.kernels.ops import ExpertOps
from nearlight.layers.decoder import Decoder
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.layers.mlp import GatedMLP
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import rotary_decoder, window_in_use

NAMES = ExpertNames("gate", "experts.*.gate_proj", "experts.*.up_proj", "experts.*.down_proj")


def build(ops: ExpertOps, config: ConfigReader) -> Decoder:
    hidden_size, attention_bias = config.size("hidden_size"), config.flag("attention_bias", False)
    n_experts = config.size("num_experts" if config.has("num_experts") else "num_local_experts", 128)
    n_chosen = config.size("num_experts_per_tok", 8)
    config.require(n_chosen <= n_experts, "num_experts_per_tok", f"at most {n_experts}", n_chosen)
    every, dense = config.positions("decoder_sparse_step", 1), config.items("mlp_only_layers", int)

    def mlp(i: int, name: str) -> GatedMLP | SparseMLP:
        if i in dense or (i + 1) % every:
            return GatedMLP(ops, name, hidden_size, config.size("intermediate_size"))
        expert_size = config.size("moe_intermediate_size", 768)
        normalize = config.flag("norm_topk_prob", False)
        return SparseMLP(ops, name, NAMES, hidden_size, expert_size, n_experts, n_chosen, normalize)

    window = window_in_use(config)  # of all layers, unlike the dense models'
    return rotary_decoder(
        ops,
        config,
        vocab_size=151936,
        max_positions=32768,
        head_dim=128,
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        qk_norm=True,
        mlp=mlp,
        window=lambda i: window,
    )
