"""GGUF files as a converter would write them, by the gguf package."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from nearlight import formats
from nearlight.dtypes import F32, MXFP4, Format
from nearlight.formats import CODECS

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 256, 512, 2, 6, 2, 64, 71


def decoder_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCAB, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCAB, HIDDEN),
    }
    for layer in range(LAYERS):
        inside = {
            "input_layernorm": (HIDDEN,),
            "self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN),
            "self_attn.k_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.v_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.o_proj": (HIDDEN, 512),
            "post_attention_layernorm": (HIDDEN,),
            "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
            "mlp.up_proj": (INTERMEDIATE, HIDDEN),
            "mlp.down_proj": (HIDDEN, INTERMEDIATE),
        }
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in inside.items()}
    return shapes


def random_bytes(format: Format, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Rows of random codes under sane scales."""
    n_rows = math.prod(shape[:-1])
    if format.block_size == 1:
        return formats.quantize(format, rng.normal(0, 1, (n_rows, shape[-1])).astype(np.float32))
    blocks = rng.integers(0, 256, (n_rows * shape[-1] // format.block_size, format.block_bytes), dtype=np.uint8)
    for offset in CODECS[format].scales_at:
        blocks[:, offset : offset + 2] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    if format == MXFP4:
        blocks[:, 0] = 120  # an exponent
    return blocks.reshape(n_rows, -1)


def gguf_name(architecture: gguf.MODEL_ARCH, name: str) -> str:
    """The gguf package's own mapping, which is not ours."""
    mapped = gguf.get_tensor_name_map(architecture, LAYERS).get_name(name, try_suffixes=(".weight", ".bias"))
    assert mapped is not None
    return mapped


def permuted(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """What llama.cpp's converter does to q and k rows (or elements of a bias)."""
    return rows.reshape(n_heads, 2, len(rows) // n_heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write_tensor(writer: gguf.GGUFWriter, name: str, format: Format, shape: tuple[int, ...], data: np.ndarray) -> None:
    ggml_type = gguf.GGMLQuantizationType[format.name]
    if format == F32:
        writer.add_tensor(name, np.ascontiguousarray(data).view(np.float32).reshape(shape))
    else:
        writer.add_tensor(name, data.reshape(*shape[:-1], -1), raw_dtype=ggml_type)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def new_writer(path: Path, architecture: str, **options: Any) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture, **options)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(5e5)
    return writer


def write_decoder(
    path: Path,
    architecture: str,
    format: Format,
    shapes: dict[str, tuple[int, ...]] | None = None,
    extra: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    **options: Any,
) -> dict[str, tuple[Format, np.ndarray]]:
    """Write random weights as a converter would; return them in Hugging Face order."""
    rng = np.random.default_rng(0)
    writer = new_writer(path, architecture, **options)
    extra(writer)
    written = {}
    for name, shape in (decoder_shapes() if shapes is None else shapes).items():
        stored_as = format if len(shape) > 1 else F32
        data = random_bytes(stored_as, shape, rng)
        written[name] = stored_as, data
        rows = data if len(shape) > 1 else data.reshape(shape[0], -1)
        if architecture == "llama" and ".q_proj" in name:
            rows = permuted(rows, HEADS)
        if architecture == "llama" and ".k_proj" in name:
            rows = permuted(rows, KV_HEADS)
        arch = {value: key for key, value in gguf.MODEL_ARCH_NAMES.items()}[architecture]
        write_tensor(writer, gguf_name(arch, name), stored_as, shape, rows)
    finish(writer)
    return written
