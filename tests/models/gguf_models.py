"""GGUF files of random models, whose every weight transformers is given too, as the gguf package reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import gguf
import numpy as np
import torch
import transformers

from nearlight.dtypes import Format
from nearlight.formats import CODECS
from tests.models.random_models import random_model

SIZES: dict[str, Any] = {
    "vocab_size": 103,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
CONFIGS: dict[str, Any] = {
    "llama": transformers.LlamaConfig(**SIZES, rope_parameters={"rope_type": "default", "rope_theta": 700.0}),
    "qwen2": transformers.Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen3": transformers.Qwen3Config(**SIZES, head_dim=64),
    "gpt2": transformers.GPT2Config(
        vocab_size=103, n_embd=256, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2
    ),
}
_DECODER = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_GPT2 = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def random_blocks(format: Format, n_rows: int, n_in: int, norm: float, rng: np.random.Generator) -> np.ndarray:
    """Random codes, scaled so that a row has about the given norm. Shapes: -> uint8 [n_rows, row_bytes]."""
    if format.block_size == 1:
        values = torch.from_numpy(rng.normal(0, norm * n_in**-0.5, (n_rows, n_in)).astype(np.float32))
        dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[format.name]
        return values.to(dtype).view(torch.uint8).numpy().reshape(n_rows, -1)
    blocks = rng.integers(0, 256, (n_rows * n_in // format.block_size, format.block_bytes), dtype=np.uint8)
    if format.name == "MXFP4":
        blocks[:, 0] = rng.integers(119, 123, len(blocks)) + round(np.log2(norm))
    for offset in CODECS[format].scales_at:
        scales = rng.uniform(0.5, 1.5, (len(blocks), 1)) * rng.choice([-1, 1], (len(blocks), 1))
        blocks[:, offset : offset + 2] = scales.astype("<f2").view(np.uint8)
    size = _dequantize(blocks.reshape(n_rows, -1), format).std() * n_in**0.5 / norm
    for offset in CODECS[format].scales_at:
        scales = blocks[:, offset : offset + 2].copy().view("<f2").astype(np.float32) / size
        blocks[:, offset : offset + 2] = scales.astype("<f2").view(np.uint8)
    return blocks.reshape(n_rows, -1)


Encode: TypeAlias = Callable[[str, np.ndarray], np.ndarray]
"""Gives the stored blocks of a matrix [out, in]. Shapes: -> uint8 [out, row_bytes]."""


def write_gguf(path: Path, family: str, format: Format, seed: int = 0) -> Any:
    """Write a random model with every matrix in `format`; return transformers' model with the same weights."""
    rng = np.random.default_rng(seed)

    def encode(module: str, values: np.ndarray) -> np.ndarray:
        # Embeddings of unit variance, and what is added to them scaled down, as torch and GPT-2 initialise them.
        norm = 1.0
        if module.endswith(("o_proj", "down_proj", "c_proj")):
            norm = 0.5
        elif module.endswith(("embed_tokens", "wte")):
            norm = values.shape[1] ** 0.5
        return random_blocks(format, *values.shape, norm, rng)

    return convert(path, family, random_model(CONFIGS[family], seed=seed), format, encode)


def quantized(format: Format) -> Encode:
    """Store a model's own weights, quantized by the gguf package."""
    ggml_type = gguf.GGMLQuantizationType[format.name]
    return lambda module, values: gguf.quants.quantize(values, ggml_type).view(np.uint8).reshape(len(values), -1)


def convert(
    path: Path, family: str, model: Any, format: Format, encode: Encode, tokenizer: dict[str, Any] | None = None
) -> Any:
    """Write a model with its matrices encoded; return it with the weights that the gguf package reads from them."""
    config = model.config
    writer = gguf.GGUFWriter(path, family)
    _write_config(writer, family, config)
    if tokenizer:
        _write_tokenizer(writer, tokenizer)
    for name, parameter in model.named_parameters():
        module, _, kind = name.rpartition(".")
        if parameter.dim() == 1 or "wpe" in name:
            writer.add_tensor(f"{_gguf_name(family, module)}.{kind}", parameter.detach().numpy())
            continue
        transposed = family == "gpt2" and ".c_" in name
        values = parameter.detach().numpy()
        data = encode(module, np.ascontiguousarray(values.T if transposed else values))
        stored = torch.from_numpy(_dequantize(data, format))
        parameter.data = stored.T.contiguous() if transposed else stored
        if family == "llama" and module.endswith(("q_proj", "k_proj")):
            heads = config.num_attention_heads if module.endswith("q_proj") else config.num_key_value_heads
            data = data.reshape(heads, 2, len(data) // heads // 2, -1).swapaxes(1, 2).reshape(len(data), -1)
        ggml_type = gguf.GGMLQuantizationType[format.name]
        writer.add_tensor(f"{_gguf_name(family, module)}.{kind}", data, raw_dtype=ggml_type)
    model.tie_weights()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _write_tokenizer(writer: gguf.GGUFWriter, tokenizer: dict[str, Any]) -> None:
    """Write a byte-level tokenizer.json, split as Qwen2's, as GGUF tables."""
    vocab = {**tokenizer["model"]["vocab"], **{t["content"]: t["id"] for t in tokenizer["added_tokens"]}}
    special = {t["id"] for t in tokenizer["added_tokens"] if t["special"]}
    tokens = sorted(vocab, key=vocab.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if vocab[token] in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(max(special))


def _dequantize(data: np.ndarray, format: Format) -> np.ndarray:
    with np.errstate(all="ignore"):
        values = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[format.name])
    return np.ascontiguousarray(values).view(np.float32).reshape(len(data), -1)


def _gguf_name(family: str, module: str) -> str:
    names = _GPT2 if family == "gpt2" else _DECODER
    if module in names:
        return names[module]
    parts = module.split(".")
    return f"blk.{parts[2]}.{names['.'.join(parts[3:])]}"


def _write_config(writer: gguf.GGUFWriter, family: str, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if family == "gpt2":
        writer.add_feed_forward_length(4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if family == "qwen3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if family == "llama":
        writer.add_rope_dimension_count(config.head_dim)
