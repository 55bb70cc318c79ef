"""Hybrids whose configs and weights contradict each other, or themselves: `(family, config, line)`, as directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.attacks import families, sound

FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("lfm2", {"layer_types": ["conv", "mamba"]}, r"layer_types: expected a list of conv and full_attention"),
    ("lfm2", {"layer_types": ["conv"] * 3}, r"layer_types: expected a list of 2, found"),
    ("lfm2", {"layer_types": None, "full_attn_idxs": [1, 2]}, r"full_attn_idxs: expected numbers below 2"),
    ("lfm2", {"conv_L_cache": 4}, r"shape of tensor model\.layers\.0\.conv\.conv\.weight: expected \[32, 1, 4\]"),
    ("lfm2", {"conv_L_cache": 1 << 30}, r"conv_L_cache: expected at most 296"),
    ("lfm2", {"block_ffn_dim_multiplier": 1e9}, r"block_ffn_dim_multiplier: expected at most 1000, found 1000000000"),
    ("lfm2", {"block_ffn_dim_multiplier": 900}, r"intermediate_size: expected at most 296, the largest axis"),
    ("nemotron_h", {"hybrid_override_pattern": "M-XE"}, r"hybrid_override_pattern: expected letters of M \* - E"),
    ("nemotron_h", {"hybrid_override_pattern": "M-*"}, r"hybrid_override_pattern: expected 4 layers, found 3"),
    ("nemotron_h", {"hybrid_override_pattern": ["M"]}, r"hybrid_override_pattern: expected text"),
    ("nemotron_h", {"hybrid_override_pattern": None}, r"hybrid_override_pattern is missing"),
    (
        "nemotron_h",
        {"hybrid_override_pattern": "M" * 99999, "num_hidden_layers": None},
        r"num_hidden_layers: expected at most \d+, the number of its tensors",
    ),
    ("nemotron_h", {"layers_block_type": ["mamba", "conv"]}, r"layers_block_type: expected a list of linear_attention"),
    ("nemotron_h", {"layers_block_type": ["mamba"] * 3}, r"layers_block_type: expected 4 layers, found 3"),
    ("nemotron_h", {"n_groups": 3}, r"mamba_num_heads: expected a multiple of n_groups \(3\), found 4"),
    ("nemotron_h", {"num_experts_per_tok": 4}, r"num_experts_per_tok: expected at most 3, found 4"),
    ("nemotron_h", {"n_group": 2}, r"n_group: expected a divisor of 3"),
    ("nemotron_h", {"n_routed_experts": 2}, r"shape of tensor .*gate\.weight: expected \[2, 32\].* found \[3, 32\]"),
    ("nemotron_h", {"time_step_limit": [0.1, 1]}, r"time_step_limit: expected \[0\.0, Infinity\], found \[0\.1, 1\]"),
    ("nemotron_h", {"mlp_hidden_act": "silu"}, r"mlp_hidden_act: expected one of relu2, found 'silu'"),
    ("nemotron_h", {"moe_latent_size": 8}, r"tensor backbone\.layers\.3\.mixer\.fc1_latent_proj\.weight is missing"),
    ("falcon_h1", {"mamba_n_heads": 5}, r"mamba_n_heads: expected a divisor of 64, found 5"),
    ("falcon_h1", {"mamba_n_groups": 3}, r"mamba_n_heads: expected a multiple of mamba_n_groups \(3\), found 4"),
    (
        "falcon_h1",
        {"mlp_multipliers": [1.0]},
        r"mlp_multipliers: expected a list of 2 positive numbers",
    ),
    ("falcon_h1", {"ssm_multipliers": [1, 1, 1, 1, "a"]}, r"ssm_multipliers: expected a list of float"),
    ("falcon_h1", {"ssm_multipliers": [1, 1, 1, 1, 10**400]}, r"ssm_multipliers: expected a list of 5 positive"),
    ("falcon_h1", {"ssm_multipliers": [1, 1, 1, 1, float("nan")]}, r"ssm_multipliers: expected a list of 5 positive"),
    ("falcon_h1", {"key_multiplier": 0}, r"key_multiplier: expected a positive number, found 0"),
    ("falcon_h1", {"mamba_d_ssm": None, "mamba_expand": 3}, r"shape of tensor .*in_proj\.weight: expected \[228, 32\]"),
    ("granitemoehybrid", {"layer_types": ["mamba", "conv"]}, r"layer_types: expected a list of full_attention, att"),
    ("granitemoehybrid", {"layer_types": ["mamba"]}, r"layer_types: expected a list of 2, found"),
    ("granitemoehybrid", {"num_experts_per_tok": 4}, r"num_experts_per_tok: expected at most 3, found 4"),
    ("granitemoehybrid", {"num_local_experts": 4}, r"shape of tensor .*router\.layer\.weight: expected \[4, 32\]"),
    ("granitemoehybrid", {"mamba_n_groups": 8}, r"mamba_n_heads: expected a multiple of mamba_n_groups \(8\)"),
    ("granitemoehybrid", {"position_embedding_type": 7}, r"position_embedding_type: expected text, found 7"),
]


def write_spoiled(directory: Path, family: str, changes: dict[str, Any]) -> Path:
    parts = families.sound_parts(f"{family}-directory")
    parts.documents["config.json"] |= changes
    families.write(parts.contents(), directory)
    return directory


def write_experts(directory: Path, n_experts: int) -> Path:
    """Write Granite's tensors of experts for so many, where router and config speak of three."""
    parts = families.sound_parts("granitemoehybrid-directory")
    tensors = families.weights("granitemoehybrid")
    stacks = {
        f"model.layers.{layer}.block_sparse_moe.{part}_linear.weight": shape
        for layer in range(2)
        for part, shape in (("input", (n_experts, 192, 32)), ("output", (n_experts, 32, 96)))
    }
    whole = families.with_halves_together(tensors) | {
        name: np.ones(shape, np.float32) for name, shape in stacks.items()
    }
    parts.files["model.safetensors"] = sound.safetensors_bytes(whole)
    families.write(parts.contents(), directory)
    return directory
