"""Malformed packages, each written by one function: `write_…(directory)` returns the path to open.

Two lists: `REFUSED_WHEN_OPENED` pairs a writer with what the one-line message must say; `OPENS` are packages whose
container is sound and whose fault shows later (when the model is bound, the weights are read, the text is used).
The containers are put together byte by byte here, because no writing library would produce such files.
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


# --- safetensors ------------------------------------------------------------------------------------------------------


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


def spoil_config(directory: Path, **changes: Any) -> Path:
    write_sound_directory(directory)
    (directory / "config.json").write_text(json.dumps(LLAMA_CONFIG | changes))
    return directory


def spoil_container(directory: Path, header: bytes | dict[str, Any], data: bytes = b"") -> Path:
    write_sound_directory(directory)
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    (directory / "model.safetensors").write_bytes(container_bytes(raw, data))
    return directory


def spoil_entry(directory: Path, **changes: Any) -> Path:
    entry = {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]} | changes
    return spoil_container(directory, {"a": entry}, bytes(24))


def write_safetensors_truncated(directory: Path) -> Path:
    write_sound_directory(directory)
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return directory


def write_safetensors_empty(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").write_bytes(b"")
    return directory


def write_safetensors_of_five_bytes(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").write_bytes(b"12345")
    return directory


def write_safetensors_header_longer_than_file(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 63) + b"{}")
    return directory


def write_safetensors_header_beyond_cap(directory: Path) -> Path:
    """A sparse file that is long enough for its 200 MB header."""
    write_sound_directory(directory)
    with (directory / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 200_000_000))
        file.truncate(300_000_000)
    return directory


def write_safetensors_header_no_json(directory: Path) -> Path:
    return spoil_container(directory, b'{"a": ')


def write_safetensors_header_no_utf8(directory: Path) -> Path:
    return spoil_container(directory, b'{"\xff": 1}')


def write_safetensors_header_list(directory: Path) -> Path:
    return spoil_container(directory, b"[1, 2]")


def write_safetensors_header_nested(directory: Path) -> Path:
    return spoil_container(directory, b'{"a":' + b"[" * 100_000)


def write_safetensors_header_huge_number(directory: Path) -> Path:
    return spoil_container(
        directory, b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 0]}}'
    )


def write_safetensors_duplicate_name(directory: Path) -> Path:
    entry = b'{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    return spoil_container(directory, b'{"a": ' + entry + b', "a": ' + entry + b"}", bytes(4))


def write_safetensors_unknown_dtype(directory: Path) -> Path:
    return spoil_entry(directory, dtype="F31")


def write_safetensors_negative_shape(directory: Path) -> Path:
    return spoil_entry(directory, shape=[-3, -2])


def write_safetensors_shape_no_list(directory: Path) -> Path:
    return spoil_entry(directory, shape={"0": 3})


def write_safetensors_overflowing_shape(directory: Path) -> Path:
    """2^32 · 2^32 wraps to 0 in 64 bits."""
    return spoil_entry(directory, shape=[2**32, 2**32, 6])


def write_safetensors_shape_wraps_to_size(directory: Path) -> Path:
    return spoil_entry(directory, shape=[2**62 + 6, 1])


def write_safetensors_too_many_axes(directory: Path) -> Path:
    return spoil_entry(directory, shape=[1] * 1000)


def write_safetensors_offsets_past_end(directory: Path) -> Path:
    return spoil_entry(directory, data_offsets=[2**40, 2**40 + 24])


def write_safetensors_offsets_reversed(directory: Path) -> Path:
    return spoil_entry(directory, data_offsets=[24, 0])


def write_safetensors_size_disagrees(directory: Path) -> Path:
    return spoil_entry(directory, data_offsets=[0, 20])


def write_safetensors_overlap(directory: Path) -> Path:
    entries = {
        "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]},
    }
    return spoil_container(directory, entries, bytes(24))


def write_safetensors_gap(directory: Path) -> Path:
    return spoil_entry(directory, shape=[4], data_offsets=[8, 24])


def write_safetensors_bytes_behind(directory: Path) -> Path:
    return spoil_entry(directory, shape=[4], data_offsets=[0, 16])


# --- the rest of a directory ------------------------------------------------------------------------------------------


def write_shards_missing(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").rename(directory / "model-00001-of-00003.safetensors")
    return directory


def write_indexed_shards_missing(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").rename(directory / "model-00001-of-00002.safetensors")
    names = list(LLAMA_SHAPES)
    weight_map = {name: f"model-0000{1 + (name == names[-1])}-of-00002.safetensors" for name in names}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return directory


def write_index_that_lies(directory: Path) -> Path:
    write_sound_directory(directory)
    weight_map = {"model.nowhere.weight": "model.safetensors"}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return directory


def write_index_that_leaves_the_directory(directory: Path) -> Path:
    write_sound_directory(directory)
    weight_map = {"a": "../../elsewhere.safetensors"}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return directory


def write_only_pickles(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    return directory


def write_no_weights(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").unlink()
    return directory


def write_empty_directory(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def write_nothing(directory: Path) -> Path:
    return directory / "absent"


def write_config_no_json(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "config.json").write_text("{'model_type': 'llama'}")
    return directory


def write_config_list(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "config.json").write_text("[]")
    return directory


def write_config_nested(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "config.json").write_text('{"a":' * 100_000)
    return directory


def write_config_without_model_type(directory: Path) -> Path:
    return spoil_config(directory, model_type=None, architectures=None)


def write_config_eos_no_id(directory: Path) -> Path:
    return spoil_config(directory, eos_token_id="two")


def write_config_rope_no_object(directory: Path) -> Path:
    return spoil_config(directory, rope_scaling=[1, 2])


def write_config_quantized(directory: Path) -> Path:
    return spoil_config(directory, quantization_config={"quant_method": "gptq", "bits": 4})


def write_chat_template_number(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "tokenizer_config.json").write_text(json.dumps({"chat_template": 7}))
    return directory


# --- GGUF -------------------------------------------------------------------------------------------------------------


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
    return spoil_gguf(directory, sound_gguf())


def spoil_gguf(directory: Path, content: bytes) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "model.gguf"
    path.write_bytes(content)
    return path


def spoil_metadata(directory: Path, changes: dict[str, bytes]) -> Path:
    return spoil_gguf(directory, gguf_bytes(LLAMA_METADATA | changes))


def spoil_tensor(directory: Path, name: str, shape: tuple[int, ...], kind: int, offset: int) -> Path:
    return spoil_gguf(directory, gguf_bytes(infos=[tensor_info(name, shape, kind, offset)]))


def write_gguf_empty(directory: Path) -> Path:
    return spoil_gguf(directory, b"")


def write_gguf_wrong_magic(directory: Path) -> Path:
    return spoil_gguf(directory, b"GGML" + sound_gguf()[4:])


def write_gguf_truncated_in_header(directory: Path) -> Path:
    return spoil_gguf(directory, sound_gguf()[:300])


def write_gguf_truncated_in_data(directory: Path) -> Path:
    return spoil_gguf(directory, sound_gguf()[:-1000])


def write_gguf_version_1(directory: Path) -> Path:
    return spoil_gguf(directory, gguf_bytes(version=1))


def write_gguf_big_endian(directory: Path) -> Path:
    return spoil_gguf(directory, b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(64))


def write_gguf_absurd_tensor_count(directory: Path) -> Path:
    return spoil_gguf(directory, gguf_bytes(n_tensors=2**61))


def write_gguf_absurd_metadata_count(directory: Path) -> Path:
    return spoil_gguf(directory, gguf_bytes(n_values=2**64 - 1))


def write_gguf_absurd_string_length(directory: Path) -> Path:
    return spoil_metadata(directory, {"general.name": struct.pack("<IQ", STRING, 2**64 - 1)})


def write_gguf_absurd_array_length(directory: Path) -> Path:
    return spoil_metadata(directory, {"tokenizer.ggml.scores": struct.pack("<IIQ", ARRAY, F32, 2**62)})


def write_gguf_absurd_string_in_array(directory: Path) -> Path:
    lying = struct.pack("<IIQ", ARRAY, STRING, 3) + string("a") + struct.pack("<Q", 2**63)
    return spoil_metadata(directory, {"tokenizer.ggml.tokens": lying})


def write_gguf_nested_array(directory: Path) -> Path:
    return spoil_metadata(directory, {"x.y": struct.pack("<IIQ", ARRAY, ARRAY, 1) + bytes(12)})


def write_gguf_unknown_value_type(directory: Path) -> Path:
    return spoil_metadata(directory, {"x.y": struct.pack("<II", 77, 0)})


def write_gguf_duplicate_key(directory: Path) -> Path:
    twice = typed(U32, 1) + string("x.y") + typed(U32, 1)
    return spoil_gguf(directory, gguf_bytes(LLAMA_METADATA | {"x.y": twice}, n_values=len(LLAMA_METADATA) + 2))


def write_gguf_key_no_utf8(directory: Path) -> Path:
    return spoil_gguf(directory, gguf_bytes().replace(b"general.name", b"general.n\xff\xfee"))


def write_gguf_absurd_alignment(directory: Path) -> Path:
    return spoil_metadata(directory, {"general.alignment": typed(U32, 2**31)})


def write_gguf_alignment_zero(directory: Path) -> Path:
    return spoil_metadata(directory, {"general.alignment": typed(U32, 0)})


def write_gguf_alignment_no_power_of_two(directory: Path) -> Path:
    return spoil_metadata(directory, {"general.alignment": typed(U32, 48)})


def write_gguf_alignment_text(directory: Path) -> Path:
    return spoil_metadata(directory, {"general.alignment": typed(STRING, "32")})


def write_gguf_too_many_axes(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (1, 1, 1, 1, 8), GGML_F32, 0)


def write_gguf_overflowing_dimensions(directory: Path) -> Path:
    """The product wraps to 16 in 64 bits."""
    return spoil_tensor(directory, "token_embd.weight", (2**32 + 1, 2**32, 16), GGML_F32, 0)


def write_gguf_size_past_end(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (1000, 8), GGML_F32, 0)


def write_gguf_zero_dimension(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (0, 8), GGML_F32, 0)


def write_gguf_offset_past_end(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (2, 8), GGML_F32, 2**63)


def write_gguf_offset_unaligned(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (1, 8), GGML_F32, 4)


def write_gguf_unknown_tensor_type(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (2, 8), 99, 0)


def write_gguf_row_no_multiple_of_block(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (1, 200), GGML_Q4_K, 0)


def write_gguf_duplicate_tensor(directory: Path) -> Path:
    infos = [tensor_info("a.weight", (8,), GGML_F32, offset) for offset in (0, 32)]
    return spoil_gguf(directory, gguf_bytes(infos=infos))


def write_gguf_overlapping_tensors(directory: Path) -> Path:
    infos = [tensor_info("a.weight", (16,), GGML_F32, 0), tensor_info("b.weight", (8,), GGML_F32, 32)]
    return spoil_gguf(directory, gguf_bytes(infos=infos))


def write_gguf_unknown_architecture(directory: Path) -> Path:
    return spoil_metadata(directory, {"general.architecture": typed(STRING, "perceptron")})


def write_gguf_without_architecture(directory: Path) -> Path:
    metadata = {key: value for key, value in LLAMA_METADATA.items() if key != "general.architecture"}
    return spoil_gguf(directory, gguf_bytes(metadata))


def write_gguf_without_heads(directory: Path) -> Path:
    metadata = {key: value for key, value in LLAMA_METADATA.items() if key != "llama.attention.head_count"}
    return spoil_gguf(directory, gguf_bytes(metadata))


def write_gguf_zero_heads(directory: Path) -> Path:
    return spoil_metadata(directory, {"llama.attention.head_count": typed(U32, 0)})


def write_gguf_absurd_layer_count(directory: Path) -> Path:
    return spoil_metadata(directory, {"llama.block_count": typed(U32, 2**32 - 1)})


def write_gguf_heads_as_text(directory: Path) -> Path:
    return spoil_metadata(directory, {"llama.attention.head_count": typed(STRING, "four")})


def write_gguf_heads_that_do_not_divide(directory: Path) -> Path:
    return spoil_gguf(
        directory,
        gguf_bytes(
            LLAMA_METADATA | {"llama.attention.head_count": typed(U32, 5), "llama.attention.key_length": typed(U32, 8)},
            [tensor_info("blk.0.attn_q.weight", (2, 8), GGML_F32, 0)],
        ),
    )


def write_gguf_unknown_rope_scaling(directory: Path) -> Path:
    return spoil_metadata(directory, {"llama.rope.scaling.type": typed(STRING, "spiral")})


def write_gguf_rope_divisors_of_wrong_length(directory: Path) -> Path:
    return spoil_gguf(directory, gguf_bytes(infos=[tensor_info("rope_freqs.weight", (3,), GGML_F32, 0)]))


def write_gguf_rope_divisors_zero(directory: Path) -> Path:
    return spoil_gguf(directory, gguf_bytes(infos=[tensor_info("rope_freqs.weight", (4,), GGML_F32, 0)]))


def write_gguf_scores_too_short(directory: Path) -> Path:
    return spoil_metadata(directory, {"tokenizer.ggml.scores": typed(ARRAY, (F32, [0.0, 1.0]))})


def write_gguf_tokens_are_numbers(directory: Path) -> Path:
    return spoil_metadata(directory, {"tokenizer.ggml.tokens": typed(ARRAY, (I32, [1, 2, 3]))})


def write_gguf_part_missing(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "model-00001-of-00003.gguf"
    path.write_bytes(gguf_bytes(LLAMA_METADATA | {"split.count": typed(U16, 3), "split.no": typed(U16, 0)}))
    return path


def write_gguf_part_renamed(directory: Path) -> Path:
    return spoil_metadata(directory, {"split.count": typed(U16, 3), "split.no": typed(U16, 0)})


def write_gguf_parts_of_wrong_total(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"model-0000{number + 1}-of-00002.gguf" for number in range(2)]
    for number, path in enumerate(paths):
        split = {"split.count": typed(U16, 2), "split.no": typed(U16, number), "split.tensors.count": typed(I32, 5)}
        path.write_bytes(gguf_bytes(LLAMA_METADATA | split, [tensor_info(f"t{number}.weight", (8,), GGML_F32, 0)]))
    return paths[0]


def write_several_ggufs(directory: Path) -> Path:
    write_sound_gguf(directory)
    (directory / "other.gguf").write_bytes(sound_gguf())
    return directory


def write_other_file(directory: Path) -> Path:
    write_sound_directory(directory)
    return directory / "model.safetensors"


REFUSED_WHEN_OPENED: list[tuple[Writer, str]] = [
    (write_safetensors_truncated, r"model\.safetensors: tensor 'lm_head\.weight' ends after the file does"),
    (write_safetensors_empty, r"model\.safetensors: the file is empty"),
    (write_safetensors_of_five_bytes, r"header length: expected 8 bytes, found 5"),
    (write_safetensors_header_longer_than_file, r"header length: expected at most 2 bytes, found 9223372036854775808"),
    (write_safetensors_header_beyond_cap, r"header length: expected at most 100000000 bytes, found 200000000"),
    (write_safetensors_header_no_json, r"header is not valid JSON"),
    (write_safetensors_header_no_utf8, r"header is not valid JSON .*utf-8"),
    (write_safetensors_header_list, r"header: expected a JSON object, found list"),
    (write_safetensors_header_nested, r"nested too deeply"),
    (write_safetensors_header_huge_number, r"header is not valid JSON .*digits"),
    (write_safetensors_duplicate_name, r"'a' appears twice"),
    (write_safetensors_unknown_dtype, r"dtype of tensor 'a': expected one of .*, found 'F31'"),
    (write_safetensors_negative_shape, r"shape of tensor 'a': expected a list of sizes, found \[-3, -2\]"),
    (write_safetensors_shape_no_list, r"shape of tensor 'a': expected a list of sizes"),
    (write_safetensors_overflowing_shape, r"tensor 'a' ends after the file does"),
    (write_safetensors_shape_wraps_to_size, r"shape of tensor 'a': expected sizes from 0 to"),
    (write_safetensors_too_many_axes, r"axes of tensor 'a': expected at most 8, found 1000"),
    (write_safetensors_offsets_past_end, r"tensor 'a' ends after the file does"),
    (write_safetensors_offsets_reversed, r"data_offsets of tensor 'a': expected \[begin, end\], found \[24, 0\]"),
    (write_safetensors_size_disagrees, r"data_offsets of tensor 'a': expected 24 bytes .*, found 20 bytes"),
    (write_safetensors_overlap, r"tensor 'b' overlaps the tensor before it"),
    (write_safetensors_gap, r"tensor 'a' leaves a gap before it"),
    (write_safetensors_bytes_behind, r"bytes behind the last tensor: expected 16 bytes of data, found 24"),
    (write_shards_missing, r"2 of 3 weight files are missing: found no model-00002-of-00003\.safetensors"),
    (write_indexed_shards_missing, r"1 of 2 weight files are missing: found no model-00002-of-00002\.safetensors"),
    (write_index_that_lies, r"weight_map entry 'model\.nowhere\.weight': expected a tensor of model\.safetensors"),
    (write_index_that_leaves_the_directory, r"weight_map entry 'a': expected the name of a safetensors file"),
    (write_only_pickles, r"pickled.*expected \*\.safetensors; convert"),
    (write_no_weights, r"no weights: expected \*\.safetensors"),
    (write_empty_directory, r"no model package: .* found an empty directory"),
    (write_nothing, r"absent: no such file or directory; give a model directory or a \.gguf file"),
    (write_config_no_json, r"config\.json: not valid JSON"),
    (write_config_list, r"config\.json: content: expected a JSON object, found list"),
    (write_config_nested, r"config\.json: not valid JSON \(nested too deeply\)"),
    (write_config_without_model_type, r"config\.json: model_type: expected the name of a model family"),
    (write_config_eos_no_id, r"config\.json: eos_token_id: expected a token id or a list of them, found 'two'"),
    (write_config_rope_no_object, r"config\.json: rope_scaling: expected an object"),
    (write_config_quantized, r"config\.json: quantized weights .* found quant_method 'gptq'"),
    (write_chat_template_number, r"tokenizer_config\.json: chat_template: expected a template"),
    (write_gguf_empty, r"model\.gguf: the file is empty"),
    (write_gguf_wrong_magic, r"first bytes: expected b'GGUF', found b'GGML'"),
    (write_gguf_truncated_in_header, r"model\.gguf: .*damaged or was not downloaded completely"),
    (write_gguf_truncated_in_data, r"tensor '[\w.]+' ends after the file does"),
    (write_gguf_version_1, r"GGUF version: expected 2 or 3, found 1"),
    (write_gguf_big_endian, r"byte order: expected little-endian, found big-endian"),
    (write_gguf_absurd_tensor_count, r"number of tensors: expected at most \d+, found 2305843009213693952"),
    (write_gguf_absurd_metadata_count, r"number of metadata values: expected at most \d+, found 18446744073709551615"),
    (write_gguf_absurd_string_length, r"length of metadata 'general\.name': expected at most \d+"),
    (write_gguf_absurd_array_length, r"length of metadata 'tokenizer\.ggml\.scores': expected at most \d+"),
    (write_gguf_absurd_string_in_array, r"metadata 'tokenizer\.ggml\.tokens'\[1\]: expected at most \d+ bytes"),
    (write_gguf_nested_array, r"element type of metadata 'x\.y': .* found an array of arrays"),
    (write_gguf_unknown_value_type, r"type of metadata 'x\.y': expected 0 to 12, found 77"),
    (write_gguf_duplicate_key, r"metadata key 'x\.y' appears twice"),
    (write_gguf_key_no_utf8, r"metadata key 1: expected UTF-8"),
    (write_gguf_absurd_alignment, r"'general\.alignment': expected a whole number from 1 to 1048576, found 2147483648"),
    (write_gguf_alignment_zero, r"'general\.alignment': expected a whole number from 1"),
    (write_gguf_alignment_no_power_of_two, r"general\.alignment: expected a power of two, found 48"),
    (write_gguf_alignment_text, r"'general\.alignment': expected a whole number"),
    (write_gguf_too_many_axes, r"axes of tensor 'token_embd\.weight': expected at most 4, found 5"),
    (write_gguf_overflowing_dimensions, r"tensor 'token_embd\.weight' ends after the file does"),
    (write_gguf_size_past_end, r"tensor 'token_embd\.weight' ends after the file does"),
    (write_gguf_zero_dimension, r"shape of tensor 'token_embd\.weight': expected sizes above 0"),
    (write_gguf_offset_past_end, r"tensor 'token_embd\.weight' ends after the file does"),
    (write_gguf_offset_unaligned, r"offset of tensor 'token_embd\.weight': expected a multiple of 32, found 4"),
    (write_gguf_unknown_tensor_type, r"type of tensor 'token_embd\.weight': expected one of .*, found id 99"),
    (write_gguf_row_no_multiple_of_block, r"row length .*: expected a multiple of 256 for Q4_K, found \[1, 200\]"),
    (write_gguf_duplicate_tensor, r"tensor 'a\.weight' appears twice"),
    (write_gguf_overlapping_tensors, r"tensors 'a\.weight' and 'b\.weight' overlap at offset 32"),
    (write_gguf_unknown_architecture, r"general\.architecture: expected one of .*llama.*, found perceptron"),
    (write_gguf_without_architecture, r"metadata 'general\.architecture' is missing"),
    (write_gguf_without_heads, r"metadata 'llama\.attention\.head_count' is missing"),
    (write_gguf_zero_heads, r"'llama\.attention\.head_count': expected a whole number from 1 .*, found 0"),
    (write_gguf_absurd_layer_count, r"'llama\.block_count': expected a whole number from 1 to 10000, found 4294967295"),
    (write_gguf_heads_as_text, r"'llama\.attention\.head_count': expected a whole number .*, found 'four'"),
    (write_gguf_heads_that_do_not_divide, r"'blk\.0\.attn_q\.weight': expected a multiple of 10 rows for 5 heads"),
    (write_gguf_unknown_rope_scaling, r"llama\.rope\.scaling\.type: expected none, linear or yarn, found spiral"),
    (write_gguf_rope_divisors_of_wrong_length, r"'rope_freqs\.weight': expected \[4\], found \[3\]"),
    (write_gguf_rope_divisors_zero, r"tensor 'rope_freqs\.weight': expected finite numbers above 0"),
    (write_gguf_scores_too_short, r"'tokenizer\.ggml\.scores': expected 40 entries, one per token, found 2"),
    (write_gguf_tokens_are_numbers, r"'tokenizer\.ggml\.tokens': expected an array of strings, found an array of 3"),
    (
        write_gguf_part_missing,
        r"parts of the split model are missing: .* found no model-00002-of-00003\.gguf, model-00003",
    ),
    (write_gguf_part_renamed, r"split\.count: expected 1, by the file's name, found 3"),
    (write_gguf_parts_of_wrong_total, r"split\.tensors\.count: expected 5, found 2 tensors in all parts"),
    (write_several_ggufs, r"several models: expected one \.gguf, found model\.gguf, other\.gguf; name the file"),
    (write_other_file, r"model\.safetensors: not a model package: .*give the directory it lies in"),
]


# --- sound containers, faulty models ----------------------------------------------------------------------------------


def write_config_shapes_disagree(directory: Path) -> Path:
    """The config speaks of a wider model than the tensors are."""
    return spoil_config(directory, hidden_size=2 * HIDDEN)


def write_gguf_shapes_disagree(directory: Path) -> Path:
    return spoil_gguf(directory, sound_gguf(**{"llama.embedding_length": typed(U32, 2 * HIDDEN)}))


def write_config_unknown_family(directory: Path) -> Path:
    return spoil_config(directory, model_type="perceptron", architectures=["PerceptronForCausalLM"])


def write_tensor_missing(directory: Path) -> Path:
    write_sound_directory(directory)
    tensors = weights()
    del tensors["model.layers.0.mlp.up_proj.weight"]
    (directory / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    return directory


def write_nan_weights(directory: Path) -> Path:
    write_sound_directory(directory)
    tensors = weights()
    tensors["model.layers.0.mlp.up_proj.weight"][5, 7] = np.nan
    (directory / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    return directory


def write_gguf_nan_scales(directory: Path) -> Path:
    """The last block of the last matrix (the output head) has a scale that is not a number."""
    content = bytearray(sound_gguf())
    content[-34:-32] = np.float16(np.nan).tobytes()
    return spoil_gguf(directory, bytes(content))


def write_gguf_fewer_tokens_than_embedding(directory: Path) -> Path:
    tables = {
        "tokenizer.ggml.tokens": typed(ARRAY, (STRING, ["<unk>", "<s>", "</s>", "a", "b"])),
        "tokenizer.ggml.scores": typed(ARRAY, (F32, [0.0, 0.0, 0.0, -1.0, -2.0])),
        "tokenizer.ggml.token_type": typed(ARRAY, (I32, [2, 3, 3, 1, 1])),
    }
    return spoil_gguf(directory, sound_gguf(**tables))


def spoil_chat_template(directory: Path, source: str) -> Path:
    write_sound_directory(directory)
    (directory / "chat_template.jinja").write_text(source)
    return directory


def write_template_that_loops(directory: Path) -> Path:
    return spoil_chat_template(
        directory, "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}done"
    )


def write_template_that_recurses(directory: Path) -> Path:
    return spoil_chat_template(directory, "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}")


def write_template_that_prints_without_end(directory: Path) -> Path:
    return spoil_chat_template(
        directory, "{% for a in range(99999) %}{% for b in range(99999) %}{{ 'x' * 99999 }}{% endfor %}{% endfor %}"
    )


OPENS: list[Writer] = [
    write_config_shapes_disagree,
    write_gguf_shapes_disagree,
    write_config_unknown_family,
    write_tensor_missing,
    write_nan_weights,
    write_gguf_nan_scales,
    write_gguf_fewer_tokens_than_embedding,
    write_template_that_loops,
    write_template_that_recurses,
    write_template_that_prints_without_end,
]
