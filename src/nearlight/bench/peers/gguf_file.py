"""Writes the model that is measured as a GGUF file, for peers that read those: the same shapes in the same bits.

Such a file is for measuring and nothing else: it has no tokenizer, and llama's query and key rows stay in the order of
Hugging Face. Source: the GGUF specification, github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from nearlight.bench.model import ModelSpec
from nearlight.bench.synthetic import random_tensor
from nearlight.dtypes import Format
from nearlight.errors import RequestError
from nearlight.kernels.count import CountOps
from nearlight.models import build_model
from nearlight.models.model import Model
from nearlight.package.gguf import READABLE
from nearlight.package.gguf_names import DECODER
from nearlight.package.tensors import StoredTensor
from nearlight.state.cache import KVState

ARCHITECTURES: Mapping[str, str] = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""GGUF's architecture for each family that is written this way. There, llama attends over the whole context."""

ALIGNMENT = 32

_VERSION = 3
_UINT32, _FLOAT32, _STRING = 4, 6, 8
_TYPE_NUMBERS: Mapping[Format, int] = {format: number for number, format in READABLE.items()}


def write_gguf(spec: ModelSpec, directory: Path) -> Path:
    """Write a model into a new file in `directory` and return its path.

    Raises: RequestError for a family, or sizes, that are not written this way.
    """
    if spec.architecture not in ARCHITECTURES:
        raise _not_written("a model of " + ", ".join(ARCHITECTURES), spec.architecture)
    if spec.architecture == "mistral" and (window := spec.config.get("sliding_window", 4096)) is not None:
        raise _not_written("mistral without a sliding window", f"one of {window} tokens")
    path = directory / "model.gguf"
    model = build_model(CountOps(), spec.config)
    tensors = [tensor.renamed(gguf_name(tensor.name)) for tensor in _tensors(spec, model)]
    for tensor in tensors:
        if tensor.format not in _TYPE_NUMBERS:
            expected = f"one of {', '.join(map(str, _TYPE_NUMBERS))}"
            raise RequestError(tensor.name, where="a GGUF file", expected=expected, found=tensor.format)
        if tensor.row_length % tensor.format.block_size:
            expected = f"rows of a multiple of {tensor.format.block_size} for {tensor.format}"
            raise RequestError(tensor.name, where="a GGUF file", expected=expected, found=tensor.row_length)
    metadata = _metadata(model, spec.config, ARCHITECTURES[spec.architecture])
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", _VERSION, len(tensors), len(metadata)))
        for key, value in metadata.items():
            file.write(_string(key) + _value(value))
        _write_tensors(file, tensors)
    return path


def _not_written(expected: str, found: str) -> RequestError:
    advice = "name a file with --peer-model llama.cpp=FILE.gguf"
    return RequestError("a GGUF file for llama.cpp", expected=expected, found=found, advice=advice)


def gguf_name(name: str) -> str:
    """Turn a tensor's name into GGUF's: "model.layers.3.mlp.up_proj.weight" into "blk.3.ffn_up.weight"."""
    module, _, kind = name.rpartition(".")
    outside = {ours: theirs for theirs, ours in DECODER.outside.items()}
    if module in outside:
        return f"{outside[module]}.{kind}"
    layer, _, inner = module.removeprefix(f"{DECODER.layer}.").partition(".")
    inside = {ours: theirs for theirs, ours in DECODER.inside.items()}
    return f"blk.{layer}.{inside[inner]}.{kind}"


def _tensors(spec: ModelSpec, model: Model) -> Iterable[StoredTensor]:
    """Describe a model's tensors: a package's as they are stored, else random ones of the same formats."""
    for parameter in model.parameters():
        if spec.package is None or spec.requantized:
            yield random_tensor(parameter, spec.format_of(parameter))
        else:
            yield spec.package.tensors[parameter.name]


def _metadata(model: Model, config: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    layers = list(model.declared(KVState))
    rope = config.get("rope_parameters") or {}
    own = {
        "block_count": len(layers),
        "context_length": model.max_positions,
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": layers[0].n_kv_heads,
        "attention.key_length": layers[0].head_dim,
        "attention.value_length": layers[0].head_dim,
        "attention.layer_norm_rms_epsilon": float(config.get("rms_norm_eps", 1e-6)),
        "rope.dimension_count": layers[0].head_dim,
        "rope.freq_base": float(rope.get("rope_theta", 10_000.0)),
        "vocab_size": model.vocab_size,
    }
    return {
        "general.architecture": architecture,
        "general.name": "synthetic",
        "general.alignment": ALIGNMENT,
        "tokenizer.ggml.model": "no_vocab",
        **{f"{architecture}.{key}": value for key, value in own.items()},
    }


def _write_tensors(file: BinaryIO, tensors: list[StoredTensor]) -> None:
    offset = 0
    for tensor in tensors:
        shape = tensor.shape[::-1]  # GGUF names the fastest axis first
        file.write(_string(tensor.name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        file.write(struct.pack("<IQ", _TYPE_NUMBERS[tensor.format], offset))
        offset += tensor.n_bytes + -tensor.n_bytes % ALIGNMENT
    file.write(bytes(-file.tell() % ALIGNMENT))
    for tensor in tensors:
        file.write(tensor.read().tobytes())
        file.write(bytes(-tensor.n_bytes % ALIGNMENT))


def _value(value: str | int | float) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    return struct.pack("<II", _UINT32, value)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
