"""A model too small to wait for, with sizes that differ."""

from __future__ import annotations

from typing import Any

from nearlight.bench.model import ModelSpec
from nearlight.bench.synthetic import formats_named

CONFIG: dict[str, Any] = {
    "model_type": "qwen3",
    "vocab_size": 320,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}
GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": 160,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
}


def tiny(weights: str = "w4", base: dict[str, Any] = CONFIG, **changes: Any) -> ModelSpec:
    return ModelSpec("Tiny", base | changes, weights, formats_named(weights).format_of)
