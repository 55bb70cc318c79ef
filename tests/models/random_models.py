"""Small random models as transformers writes them, with odd and distinct sizes, to compare against."""

from __future__ import annotations

import copy
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

DELTA_NET: dict[str, Any] = {
    **SIZES,
    "num_hidden_layers": 4,
    "head_dim": 24,
    "partial_rotary_factor": 0.25,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 34,  # of few dimensions keys are alike, and what rounding does grows from row to row
    "linear_value_head_dim": 22,
}
DELTA_EXPERTS: dict[str, Any] = {
    **DELTA_NET,
    "num_experts": 5,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 13,
    "shared_expert_intermediate_size": 17,
}
THREE_AXES = {"rope_type": "default", "rope_theta": 700.0, "mrope_section": [1, 1, 1], "mrope_interleaved": True}

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
    "phi3": transformers.Phi3Config(**{**SIZES, "hidden_size": 36, "pad_token_id": 0}, sliding_window=5),
    "phi3-longrope": transformers.Phi3Config(
        **{**SIZES, "hidden_size": 96, "pad_token_id": 0},
        original_max_position_embeddings=24,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 500.0,
            "partial_rotary_factor": 0.75,
            "short_factor": [1.0, 1.1, 1.3, 1.7, 2.1, 2.2],
            "long_factor": [1.5, 2.0, 3.1, 4.7, 7.0, 9.0],
        },
    ),
    "ministral": transformers.MinistralConfig(
        **SIZES,
        head_dim=14,
        sliding_window=5,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "ministral3": transformers.Ministral3Config(
        **SIZES,
        head_dim=14,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 500.0,
            "factor": 6.0,
            "original_max_position_embeddings": 7,
            "mscale": 1.0,
            "mscale_all_dim": 0.7,
            "llama_4_scaling_beta": 0.9,
        },
    ),
    "llama4_text": transformers.Llama4TextConfig(
        **{**EXPERTS, "num_hidden_layers": 5, "num_experts_per_tok": 1},
        num_local_experts=3,
        intermediate_size_mlp=26,
        interleave_moe_layer_step=2,
        attention_chunk_size=5,
        no_rope_layers=[1, 0, 1, 1, 0],
        floor_scale=6,
        attn_scale=0.9,
    ),
    "llama4_text-plain": transformers.Llama4TextConfig(
        **{**EXPERTS, "num_hidden_layers": 5},
        num_local_experts=3,
        intermediate_size_mlp=26,
        attention_chunk_size=16,
        use_qk_norm=False,
        attn_temperature_tuning=False,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            **LONG,
        },
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
    "qwen3_next": transformers.Qwen3NextConfig(**DELTA_EXPERTS, full_attention_interval=2),
    "qwen3_next-as-is": transformers.Qwen3NextConfig(
        **{**DELTA_EXPERTS, "linear_num_value_heads": 2, "linear_value_head_dim": 70},
        attention_bias=True,
        linear_conv_kernel_dim=3,
        norm_topk_prob=False,
        mlp_only_layers=[1],
        layer_types=["full_attention", "linear_attention", "linear_attention", "full_attention"],
    ),
    "qwen3_5": transformers.Qwen3_5TextConfig(
        **DELTA_NET, rope_parameters={**THREE_AXES, "partial_rotary_factor": 0.25}
    ),
    "qwen3_5-long-keys": transformers.Qwen3_5TextConfig(**{**DELTA_NET, "linear_key_head_dim": 50}),
    "qwen3_5_moe": transformers.Qwen3_5MoeTextConfig(
        **DELTA_EXPERTS, layer_types=["linear_attention", "full_attention", "linear_attention", "linear_attention"]
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

HEADS_OF_STATES: dict[str, Any] = {"mamba_n_heads": 6, "mamba_d_head": 12, "mamba_n_groups": 2, "mamba_d_state": 5}
GRANITE: dict[str, Any] = {
    **SIZES,
    "hidden_size": 36,
    "attention_multiplier": 0.3,
    "embedding_multiplier": 2.5,
    "residual_multiplier": 0.7,
    "logits_scaling": 3.0,
}
NEMOTRON: dict[str, Any] = {
    **SIZES,
    "num_hidden_layers": None,
    "head_dim": 10,
    "mamba_num_heads": 6,
    "mamba_head_dim": 7,
    "ssm_state_size": 5,
    "n_groups": 3,
    "n_routed_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 13,
    "moe_shared_expert_intermediate_size": 17,
    "routed_scaling_factor": 1.4,
    "time_step_min": 1e-30,  # by which transformers bounds steps, in prompts only, and nobody else
}
FALCON: dict[str, Any] = {**SIZES, **HEADS_OF_STATES, "head_dim": 14, "mamba_d_ssm": 72}
FACTORS: dict[str, Any] = {
    "lm_head_multiplier": 0.3,
    "embedding_multiplier": 2.5,
    "mlp_multipliers": [0.8, 0.6],
    "key_multiplier": 0.5,
    "attention_out_multiplier": 0.7,
    "attention_in_multiplier": 1.3,
    "ssm_multipliers": [0.4, 0.5, 0.6, 0.7, 0.8],
    "ssm_in_multiplier": 1.2,
    "ssm_out_multiplier": 0.9,
}
HYBRIDS: dict[str, Any] = {
    "lfm2": transformers.Lfm2Config(
        **{**SIZES, "hidden_size": 36, "num_hidden_layers": 4},
        layer_types=["conv", "full_attention", "conv", "full_attention"],
        block_multiple_of=7,
        block_ffn_dim_multiplier=1.1,
    ),
    "lfm2-biases": transformers.Lfm2Config(
        **{**SIZES, "hidden_size": 36},
        full_attn_idxs=[1],
        conv_bias=True,
        conv_L_cache=4,
        block_auto_adjust_ff_dim=False,
        tie_word_embeddings=False,
    ),
    "lfm2_moe": transformers.Lfm2MoeConfig(
        **{**SIZES, "hidden_size": 36},
        layer_types=["conv", "full_attention", "conv"],
        num_dense_layers=1,
        num_experts=5,
        num_experts_per_tok=2,
        moe_intermediate_size=13,
        routed_scaling_factor=1.3,
    ),
    "nemotron_h": transformers.NemotronHConfig(
        **NEMOTRON, layers_block_type=["mamba", "mlp", "attention", "moe", "mamba", "moe"], n_group=2
    ),
    "nemotron_h-latent": transformers.NemotronHConfig(
        **NEMOTRON,
        layers_block_type=["moe", "mamba", "attention"],
        moe_latent_size=22,
        use_bias=True,
        mlp_bias=True,
        use_conv_bias=False,
    ),
    "falcon_h1": transformers.FalconH1Config(**FALCON, **FACTORS),
    "falcon_h1-norm-first": transformers.FalconH1Config(
        **FALCON,
        **FACTORS,
        mamba_rms_norm=True,
        mamba_proj_bias=True,
        projectors_bias=True,
        attention_bias=True,
        mlp_bias=True,
    ),
    "falcon_h1-gate-first": transformers.FalconH1Config(
        **{**FALCON, "mamba_d_ssm": None, "mamba_d_head": 14},
        mamba_rms_norm=True,
        mamba_norm_before_gate=False,
        mamba_conv_bias=False,
    ),
    "granitemoehybrid": transformers.GraniteMoeHybridConfig(
        **GRANITE,
        **HEADS_OF_STATES,
        layer_types=["mamba", "attention", "mamba"],
        num_local_experts=5,
        shared_intermediate_size=20,
    ),
    "granitemoehybrid-dense": transformers.GraniteMoeHybridConfig(
        **GRANITE,
        **HEADS_OF_STATES,
        layer_types=["mamba", "attention", "attention"],
        num_local_experts=0,
        shared_intermediate_size=20,
        position_embedding_type="rope",
        mamba_proj_bias=True,
        mamba_conv_bias=False,
        attention_bias=True,
        tie_word_embeddings=True,
    ),
}
"""Layers of several kinds: convolutions, recurrences, attention, or two of them side by side."""

HYBRIDS |= {name: CONFIGS[name] for name in ("qwen3_5", "qwen3_5_moe", "qwen3_next")}
CONFIGS |= HYBRIDS
CONFIGS["granitemoe"] = transformers.GraniteMoeConfig(**GRANITE, num_local_experts=5)
CONFIGS["olmoe"] = transformers.OlmoeConfig(
    **{**SIZES, "hidden_size": 36, "pad_token_id": 0}, num_experts=5, num_experts_per_tok=2
)


def random_model(config: Any, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """Make a model whose every parameter matters: norms and biases are random too."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
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
        stored = model.state_dict()
        for name, buffer in model.named_buffers():
            if name.endswith("layer_scalar"):  # a weight in all but name
                buffer.normal_(mean=0.9, std=0.2)
            elif name in stored:  # a correction of what experts are chosen by
                buffer.normal_(std=0.1)
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
