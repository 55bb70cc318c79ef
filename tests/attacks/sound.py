"""A small llama that is in order, as a Hugging Face directory and as a GGUF file, to be spoiled by others.

The containers are put together byte by byte, because no writing library would produce the files that are made from
them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Writer = Callable[[Path], Path]
VOCAB, HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM = 40, 32, 96, 4, 2, 8
LLAMA_SHAPES = {
    "model.embed_tokens.weight": (VOCAB, HIDDEN),
    "model.layers.0.input_layernorm.weight": (HIDDEN,),
    "model.layers.0.self_attn.q_proj.weight": (HEADS * HEAD_DIM, HIDDEN),
    "model.layers.0.self_attn.k_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
    "model.layers.0.self_attn.v_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
    "model.layers.0.self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD_DIM),
    "model.layers.0.post_attention_layernorm.weight": (HIDDEN,),
    "model.layers.0.mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
    "model.layers.0.mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
    "model.layers.0.mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
    "model.norm.weight": (HIDDEN,),
    "lm_head.weight": (VOCAB, HIDDEN),
}
LLAMA_CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": 1,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.layers.0.input_layernorm": "blk.0.attn_norm",
    "model.layers.0.self_attn.q_proj": "blk.0.attn_q",
    "model.layers.0.self_attn.k_proj": "blk.0.attn_k",
    "model.layers.0.self_attn.v_proj": "blk.0.attn_v",
    "model.layers.0.self_attn.o_proj": "blk.0.attn_output",
    "model.layers.0.post_attention_layernorm": "blk.0.ffn_norm",
    "model.layers.0.mlp.gate_proj": "blk.0.ffn_gate",
    "model.layers.0.mlp.up_proj": "blk.0.ffn_up",
    "model.layers.0.mlp.down_proj": "blk.0.ffn_down",
    "model.norm": "output_norm",
    "lm_head": "output",
}
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64 = range(11)
_PACKED = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q"}
GGML_F32, GGML_Q8_0, GGML_Q4_K = 0, 8, 12


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in LLAMA_SHAPES.items()}


def safetensors_bytes(tensors: dict[str, np.ndarray]) -> bytes:
    header, data = {}, b""
    for name, values in tensors.items():
        raw = values.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return container_bytes(json.dumps(header).encode(), data)


def container_bytes(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def write_sound_directory(directory: Path) -> Path:
    """A small llama that is in order (without tokenizer), to be spoiled by the functions below."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(LLAMA_CONFIG))
    (directory / "model.safetensors").write_bytes(safetensors_bytes(weights()))
    return directory


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def typed(kind: int, value: Any) -> bytes:
    """A value behind its type; lists are arrays of (kind, items)."""
    if kind == STRING:
        return struct.pack("<I", kind) + string(value)
    if kind == ARRAY:
        element, items = value
        body = b"".join(typed(element, item)[4:] for item in items)
        return struct.pack("<IIQ", kind, element, len(items)) + body
    return struct.pack("<I", kind) + struct.pack(_PACKED[kind], value)


LLAMA_METADATA: dict[str, bytes] = {
    "general.architecture": typed(STRING, "llama"),
    "general.name": typed(STRING, "spoiled"),
    "llama.context_length": typed(U32, 64),
    "llama.embedding_length": typed(U32, HIDDEN),
    "llama.block_count": typed(U32, 1),
    "llama.feed_forward_length": typed(U32, INTERMEDIATE),
    "llama.attention.head_count": typed(U32, HEADS),
    "llama.attention.head_count_kv": typed(U32, KV_HEADS),
    "llama.attention.layer_norm_rms_epsilon": typed(F32, 1e-6),
    "llama.rope.dimension_count": typed(U32, HEAD_DIM),
    "tokenizer.ggml.model": typed(STRING, "llama"),
    "tokenizer.ggml.tokens": typed(ARRAY, (STRING, ["<unk>", "<s>", "</s>", *(f"t{i}" for i in range(VOCAB - 3))])),
    "tokenizer.ggml.scores": typed(ARRAY, (F32, [-float(i) for i in range(VOCAB)])),
    "tokenizer.ggml.token_type": typed(ARRAY, (I32, [2, 3, 3] + [1] * (VOCAB - 3))),
}


def tensor_info(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    dims = b"".join(struct.pack("<Q", size) for size in reversed(shape))
    return string(name) + struct.pack("<I", len(shape)) + dims + struct.pack("<IQ", kind, offset)


def gguf_bytes(
    metadata: dict[str, bytes] | None = None,
    infos: list[bytes] | None = None,
    data: bytes = bytes(64),
    version: int = 3,
    n_tensors: int | None = None,
    n_values: int | None = None,
) -> bytes:
    """Put a GGUF file together from its parts; counts can be made to lie."""
    metadata = LLAMA_METADATA if metadata is None else metadata
    infos = [tensor_info("token_embd.weight", (2, 8), GGML_F32, 0)] if infos is None else infos
    n_tensors = len(infos) if n_tensors is None else n_tensors
    n_values = len(metadata) if n_values is None else n_values
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_values)
    head += b"".join(string(key) + value for key, value in metadata.items()) + b"".join(infos)
    return head + bytes(-len(head) % 32) + data


def q8_0(values: np.ndarray) -> bytes:
    """Q8_0 blocks with a fixed scale; good enough for files that are about to be spoiled."""
    blocks = np.round(values.reshape(-1, 32) / 0.005).clip(-127, 127).astype(np.int8)
    return b"".join(np.float16(0.005).tobytes() + block.tobytes() for block in blocks)


def sound_gguf(**changes: bytes) -> bytes:
    """A small llama that is in order unless metadata is changed: matrices in Q8_0, the rest in F32."""
    infos, data = [], b""
    for name, values in weights().items():
        module, kind = name.rsplit(".", 1)
        ggml_type = GGML_Q8_0 if values.ndim == 2 else GGML_F32
        data += bytes(-len(data) % 32)
        infos.append(tensor_info(f"{GGUF_NAMES[module]}.{kind}", values.shape, ggml_type, len(data)))
        data += q8_0(values) if ggml_type == GGML_Q8_0 else values.tobytes()
    return gguf_bytes(LLAMA_METADATA | changes, infos, data)


def write_sound_gguf(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "model.gguf"
    path.write_bytes(sound_gguf())
    return path
