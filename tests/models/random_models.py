"""Small random models as transformers writes them, with odd and distinct sizes, to compare against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

SIZES: dict[str, Any] = {
    "vocab_size": 103,
    "hidden_size": 42,
    "intermediate_size": 75,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
LONG = {"original_max_position_embeddings": 16}

GEMMA: dict[str, Any] = {
    **SIZES,
    "num_hidden_layers": 7,
    "head_dim": 14,
    "sliding_window": 5,
    "query_pre_attn_scalar": 9,
}
GEMMA4: dict[str, Any] = {
    **{key: value for key, value in GEMMA.items() if key != "query_pre_attn_scalar"},
    "pad_token_id": 0,
    "num_hidden_layers": 9,
    "layer_types": (["sliding_attention"] * 2 + ["full_attention"]) * 3,
    "global_head_dim": 22,
    "vocab_size_per_layer_input": 103,
    "rope_parameters": {
        "full_attention": {"rope_type": "proportional", "rope_theta": 7000.0, "partial_rotary_factor": 0.4},
        "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
    },
}
SHARED: dict[str, Any] = {
    "hidden_size_per_layer_input": 10,
    "num_kv_shared_layers": 4,
    "use_double_wide_mlp": True,
    "final_logit_softcapping": 6.0,
}
MIXED: dict[str, Any] = {
    "enable_moe_block": True,
    "num_experts": 5,
    "top_k_experts": 2,
    "moe_intermediate_size": 13,
    "attention_k_eq_v": True,
    "num_global_key_value_heads": 3,
}
EXPERTS: dict[str, Any] = {**SIZES, "head_dim": 14, "num_experts_per_tok": 2}

CONFIGS: dict[str, Any] = {
    "llama": transformers.LlamaConfig(**SIZES, head_dim=14),
    "llama-biases": transformers.LlamaConfig(
        **{**SIZES, "hidden_size": 36}, attention_bias=True, mlp_bias=True, tie_word_embeddings=True
    ),
    "llama-one-kv-head": transformers.LlamaConfig(**{**SIZES, "num_key_value_heads": 1}, head_dim=10),
    "llama-linear": transformers.LlamaConfig(
        **SIZES, head_dim=14, rope_parameters={"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0}
    ),
    "llama-dynamic": transformers.LlamaConfig(
        **{**SIZES, "max_position_embeddings": 24},
        head_dim=14,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 500.0, "factor": 2.5},
    ),
    "llama-llama3": transformers.LlamaConfig(
        **SIZES,
        head_dim=14,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            **LONG,
        },
    ),
    "llama-yarn": transformers.LlamaConfig(
        **SIZES, head_dim=14, rope_parameters={"rope_type": "yarn", "rope_theta": 500.0, "factor": 6.0, **LONG}
    ),
    "mistral": transformers.MistralConfig(**SIZES, head_dim=14, sliding_window=None),
    "olmo2": transformers.Olmo2Config(**{**SIZES, "hidden_size": 36}),
    "smollm3": transformers.SmolLM3Config(**{**SIZES, "hidden_size": 36, "num_hidden_layers": 5, "pad_token_id": 0}),
    "qwen2": transformers.Qwen2Config(**{**SIZES, "hidden_size": 60}),
    "qwen2-tied": transformers.Qwen2Config(**{**SIZES, "hidden_size": 84}, tie_word_embeddings=True),
    "qwen3": transformers.Qwen3Config(**SIZES, head_dim=18),
    "qwen3-tied": transformers.Qwen3Config(**SIZES, head_dim=10, tie_word_embeddings=True),
    "gpt2": transformers.GPT2Config(
        vocab_size=103, n_embd=42, n_layer=3, n_head=3, n_positions=96, bos_token_id=1, eos_token_id=2
    ),
    "gpt2-by-layer": transformers.GPT2Config(
        vocab_size=103,
        n_embd=40,
        n_layer=3,
        n_head=5,
        n_inner=77,
        n_positions=96,
        activation_function="gelu",
        scale_attn_by_inverse_layer_idx=True,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "exaone4": transformers.Exaone4Config(
        **SIZES, head_dim=14, sliding_window=None, layer_types=["full_attention"] * 3
    ),
    "exaone4-windows": transformers.Exaone4Config(
        **{**SIZES, "num_hidden_layers": 5}, head_dim=14, sliding_window=5, sliding_window_pattern=4
    ),
    "glm4": transformers.Glm4Config(**{**SIZES, "pad_token_id": 0}, head_dim=12),
    "glm4_moe": transformers.Glm4MoeConfig(
        **{**EXPERTS, "pad_token_id": 0, "head_dim": 12},
        n_routed_experts=6,
        moe_intermediate_size=13,
        n_shared_experts=2,
        first_k_dense_replace=1,
        n_group=3,
        topk_group=2,
        routed_scaling_factor=1.7,
        use_qk_norm=True,
        attention_bias=True,
    ),
    "glm4_moe-plain": transformers.Glm4MoeConfig(
        **{**EXPERTS, "pad_token_id": 0, "head_dim": 12},
        n_routed_experts=5,
        moe_intermediate_size=13,
        norm_topk_prob=False,
    ),
    "gemma2": transformers.Gemma2Config(**GEMMA, attn_logit_softcapping=3.0, final_logit_softcapping=9.0),
    "gemma3_text": transformers.Gemma3TextConfig(
        **GEMMA,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 7000.0, "factor": 4.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
        },
    ),
    "gemma4_text": transformers.Gemma4TextConfig(**GEMMA4, **SHARED),
    "gemma4_text-experts": transformers.Gemma4TextConfig(**GEMMA4, **MIXED, hidden_size_per_layer_input=0),
    "gemma4_text-all": transformers.Gemma4TextConfig(**GEMMA4, **SHARED, **MIXED),
    "granite": transformers.GraniteConfig(
        **{**SIZES, "hidden_size": 36},
        attention_multiplier=0.3,
        embedding_multiplier=2.5,
        residual_multiplier=0.7,
        logits_scaling=3.0,
    ),
    "gpt_oss": transformers.GptOssConfig(**EXPERTS, num_local_experts=5, sliding_window=5),
    "mixtral": transformers.MixtralConfig(**EXPERTS, num_local_experts=5, sliding_window=None),
    "qwen3_moe": transformers.Qwen3MoeConfig(**EXPERTS, num_experts=5, moe_intermediate_size=13, norm_topk_prob=True),
    "olmo3": transformers.Olmo3Config(
        **{**SIZES, "hidden_size": 36, "num_hidden_layers": 5, "pad_token_id": 0}, sliding_window=5
    ),
    "olmo3-yarn": transformers.Olmo3Config(
        **{**SIZES, "hidden_size": 36, "num_hidden_layers": 5, "pad_token_id": 0},
        sliding_window=5,
        rope_parameters={
            "full_attention": {"rope_type": "yarn", "rope_theta": 700.0, "factor": 6.0, **LONG},
            "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
        },
    ),
    "qwen3_moe-as-is": transformers.Qwen3MoeConfig(
        **EXPERTS, num_experts=5, moe_intermediate_size=13, norm_topk_prob=False, mlp_only_layers=[1]
    ),
}

WINDOW: dict[str, Any] = {"sliding_window": 11, "use_sliding_window": True}

WINDOWED: dict[str, Any] = {
    "mistral": transformers.MistralConfig(**SIZES, head_dim=14, sliding_window=11),
    "qwen2-window": transformers.Qwen2Config(**{**SIZES, "hidden_size": 60}, **WINDOW, max_window_layers=0),
    "qwen2-window-from-1": transformers.Qwen2Config(**{**SIZES, "hidden_size": 60}, **WINDOW, max_window_layers=1),
    "qwen3-window": transformers.Qwen3Config(
        **SIZES,
        head_dim=18,
        **WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
}
"""Whose window is shorter than what the tests give them to read."""


def random_model(config: Any, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """Make a model whose every parameter matters: norms and biases are random too."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    scramble(model)
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # the grouped product wants sizes that are multiples of 4
    return model.to(dtype)


def scramble(model: Any) -> None:
    """Give a model random weights of which every one matters."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1.2 / parameter.shape[-1] ** 0.5)
            else:
                parameter.normal_(mean=0.7, std=0.3)
        for name, buffer in model.named_buffers():
            if name.endswith("layer_scalar"):  # a weight in all but name
                buffer.normal_(mean=0.9, std=0.2)
    model.tie_weights()


def write_model(directory: Path, config: Any, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """Save a random model as a package, and return it in the precision it was saved in."""
    model = random_model(config, dtype)
    model.save_pretrained(directory, **options)
    return model


def transformers_logits(model: Any, ids: list[int]) -> np.ndarray:
    """Shapes: -> float32 [T, V]."""
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def rms_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """The root of the mean squared difference, over that of the logits."""
    return float(np.sqrt(np.mean((got - wanted) ** 2) / np.mean(wanted**2)))


def relative_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference as a part of the largest logit."""
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())
