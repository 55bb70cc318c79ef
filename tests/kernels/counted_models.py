"""Small configs of every family with odd and distinct sizes, and any model counted from one."""

from __future__ import annotations

from typing import Any

from nearlight.counting.counted_model import CountedModel
from nearlight.dtypes import F16, F32, Format
from nearlight.kernels.count import ACCELERATOR, Target

V, M, F, L, H, K, D = 103, 42, 75, 3, 6, 2, 14

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": V,
    "hidden_size": M,
    "intermediate_size": F,
    "num_hidden_layers": L,
    "num_attention_heads": H,
    "num_key_value_heads": K,
    "head_dim": D,
    "max_position_embeddings": 900,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "llama-tied": LLAMA | {"tie_word_embeddings": True},
    "llama-biases": LLAMA | {"attention_bias": True, "mlp_bias": True},
    "mistral": LLAMA | {"model_type": "mistral", "sliding_window": None},
    "qwen2": LLAMA | {"model_type": "qwen2"},
    "qwen3": LLAMA | {"model_type": "qwen3"},
    "gemma4": LLAMA
    | {
        "model_type": "gemma4_text",
        "num_hidden_layers": 5,
        "layer_types": ["sliding_attention", "full_attention"] * 2 + ["full_attention"],
        "sliding_window": 900,
        "global_head_dim": 22,
        "num_kv_shared_layers": 2,
        "use_double_wide_mlp": True,
        "hidden_size_per_layer_input": 10,
        "vocab_size_per_layer_input": V,
    },
    "phi3": LLAMA
    | {
        "model_type": "phi3",
        "original_max_position_embeddings": 300,
        "rope_parameters": {"rope_type": "longrope", "short_factor": [1.0] * 7, "long_factor": [2.0] * 7},
    },
    "ministral3": LLAMA | {"model_type": "ministral3"},
    "llama4": LLAMA
    | {
        "model_type": "llama4_text",
        "intermediate_size_mlp": 60,
        "num_local_experts": 1,
        "moe_layers": [],
        "attention_chunk_size": 900,
    },
    "gpt2": {"model_type": "gpt2", "vocab_size": V, "n_embd": 42, "n_layer": L, "n_head": 3, "n_positions": 900},
}
_STATES: dict[str, Any] = {"mamba_n_heads": 4, "mamba_n_groups": 2, "mamba_d_state": 5}
HYBRIDS: dict[str, dict[str, Any]] = {
    "lfm2": LLAMA | {"model_type": "lfm2", "full_attn_idxs": [1], "block_auto_adjust_ff_dim": False},
    "falcon_h1": LLAMA | _STATES | {"model_type": "falcon_h1", "mamba_d_ssm": 44, "ssm_in_multiplier": 0.5},
    "nemotron_h": LLAMA
    | {
        "model_type": "nemotron_h",
        "hybrid_override_pattern": "M-*",
        "mamba_num_heads": 4,
        "mamba_head_dim": 11,
        "ssm_state_size": 5,
        "n_groups": 2,
    },
}
"""Whose layers also keep states, which do not grow with a sequence."""

DELTA_NET: dict[str, Any] = LLAMA | {
    "model_type": "qwen3_5_text",
    "head_dim": 24,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 10,
    "linear_value_head_dim": 22,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
"""Whose layers keep more than keys and values."""


def counted(
    config: dict[str, Any], format: Format = F32, *, kv_format: Format = F16, target: Target = ACCELERATOR
) -> CountedModel:
    """Count a config with all its matrices in one format."""
    return CountedModel(config, lambda parameter: format, kv_format=kv_format, target=target)
