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
    "gpt2": {"model_type": "gpt2", "vocab_size": V, "n_embd": 42, "n_layer": L, "n_head": 3, "n_positions": 900},
}

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
