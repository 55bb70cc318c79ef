"""Tensors of a Hugging Face directory under the names and orientation that transformers' model classes have today.

Files differ from that in some ways: names saved from the bare model lack its prefix, buffers that are no weights were
saved along, GPT-2 keeps its matrices as [in, out], Gemma the scales of its norms less one, and gpt-oss all experts of a
layer in one tensor.

Source: docs/formats.md sections 1.3 and 7.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from nearlight.dtypes import F32
from nearlight.formats import dequantize
from nearlight.package.tensors import Bytes, StoredTensor


@dataclass(frozen=True)
class Layout:
    """How one family's tensors are named.

    `prefix` precedes every name but the output head's; names matching `buffers` are no weights; those matching
    `transposed` are stored [in, out], those matching `less_one` less one. `wrapped` matches the names in a
    model that also sees, whose part for text this is.
    """

    prefix: str
    buffers: re.Pattern[str]
    transposed: re.Pattern[str] | None = None
    less_one: re.Pattern[str] | None = None
    wrapped: re.Pattern[str] | None = None


DECODER = Layout("model.", re.compile(r".*\.rotary_emb\.inv_freq"))
GPT2 = Layout(
    "transformer.",
    re.compile(r".*\bh\.\d+\.attn\.(bias|masked_bias)"),
    re.compile(r".*\bh\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight"),
)
_WRAPPED = re.compile(
    r"(?:language_model\.model|model\.language_model)\.(?P<name>.+)|(?:language_model\.)?(?P<head>lm_head\..+)"
)
GEMMA = Layout("model.", DECODER.buffers, less_one=re.compile(r".*norm\.weight"), wrapped=_WRAPPED)
_DECODERS = ["exaone4", "glm4", "glm4_moe", "gpt_oss", "granite", "llama", "mistral", "mixtral", "olmo2", "olmo3"]
_DECODERS += ["qwen2", "qwen3", "qwen3_moe", "smollm3"]
LAYOUTS = {"gpt2": GPT2, "gemma2": GEMMA, "gemma3_text": GEMMA} | dict.fromkeys(_DECODERS, DECODER)


def normalize(model_type: str, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Give tensors their canonical names and `[out, in]` orientation; families not listed are left as they are."""
    if model_type not in LAYOUTS:
        return dict(tensors)
    layout = LAYOUTS[model_type]
    if layout.wrapped and any(match["name"] for name in tensors if (match := layout.wrapped.fullmatch(name))):
        inside = {name: match for name in tensors if (match := layout.wrapped.fullmatch(name))}
        tensors = {match["head"] or layout.prefix + match["name"]: tensors[name] for name, match in inside.items()}
    has_prefix = any(name.startswith(layout.prefix) for name in tensors)
    normalized = {}
    for name, tensor in tensors.items():
        if layout.buffers.fullmatch(name):
            continue
        if layout.transposed is not None and layout.transposed.fullmatch(name) and len(tensor.shape) == 2:
            tensor = _transposed(tensor)
        if layout.less_one is not None and layout.less_one.fullmatch(name) and len(tensor.shape) == 1:
            tensor = _plus_one(tensor)
        full_name = name if has_prefix or name.startswith("lm_head.") else layout.prefix + name
        for part in (
            _experts_apart(tensor.renamed(full_name)) if model_type == "gpt_oss" else [tensor.renamed(full_name)]
        ):
            normalized[part.name] = part
    return normalized


def _experts_apart(tensor: StoredTensor) -> Iterator[StoredTensor]:
    """Take gpt-oss' stacks [E, in, out] apart, gate and up lying in turns; other tensors stay as they are."""
    layer, _, kind = tensor.name.rpartition(".experts.")
    if kind not in _IN_TURNS or len(tensor.shape) != (2 if kind.endswith("_bias") else 3):
        yield tensor
        return
    for first, name in enumerate(_IN_TURNS[kind]):
        step = len(_IN_TURNS[kind])
        if kind.endswith("_bias"):
            yield _biases(tensor, f"{layer}.experts.*.{name}.bias", first, step)
        else:
            for expert in range(tensor.shape[0]):
                yield _matrix_of_expert(tensor, f"{layer}.experts.{expert}.{name}.weight", expert, first, step)


_IN_TURNS = {
    "gate_up_proj": ("gate_proj", "up_proj"),
    "gate_up_proj_bias": ("gate_proj", "up_proj"),
    "down_proj": ("down_proj",),
    "down_proj_bias": ("down_proj",),
}


def _matrix_of_expert(tensor: StoredTensor, name: str, expert: int, first: int, step: int) -> StoredTensor:
    """Take every step-th column of an expert's [in, columns] as a matrix [out, in]."""
    _, n_in, n_columns = tensor.shape
    n_out, size = len(range(first, n_columns, step)), tensor.format.block_bytes

    def read() -> Bytes:
        values = tensor.read().reshape(-1, n_in, n_columns, size)[expert, :, first::step]
        return np.ascontiguousarray(values.swapaxes(0, 1)).reshape(n_out, n_in * size)

    return replace(tensor, name=name, shape=(n_out, n_in), read=read)


def _biases(tensor: StoredTensor, name: str, first: int, step: int) -> StoredTensor:
    """Take every step-th of all experts' biases [E, columns] as one vector."""
    n_experts, n_columns = tensor.shape
    n_out, size = len(range(first, n_columns, step)), tensor.format.block_bytes

    def read() -> Bytes:
        values = tensor.read().reshape(n_experts, n_columns, size)[:, first::step]
        return np.ascontiguousarray(values).reshape(1, -1)

    return replace(tensor, name=name, shape=(n_experts * n_out,), read=read)


def _plus_one(tensor: StoredTensor) -> StoredTensor:
    """Add what a norm's scale was stored without, in float32."""

    def read() -> Bytes:
        values = dequantize(tensor.format, tensor.read(), tensor.row_length)
        return np.ascontiguousarray(values + np.float32(1)).view(np.uint8)

    return replace(tensor, format=F32, read=read)


def _transposed(tensor: StoredTensor) -> StoredTensor:
    """Swap the two axes when read.

    Shapes: [in, out] -> [out, in]; safetensors formats have one value to a block, so values move alone.
    """
    n_in, n_out = tensor.shape

    def read() -> Bytes:
        values = tensor.read().reshape(n_in, n_out, tensor.format.block_bytes)
        return np.ascontiguousarray(values.swapaxes(0, 1)).reshape(n_out, n_in * tensor.format.block_bytes)

    return StoredTensor(tensor.name, tensor.format, (n_out, n_in), read)
