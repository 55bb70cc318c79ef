"""Tensors of a Hugging Face directory under the names and orientation that transformers' model classes have today.

Files differ from that in some ways: names saved from the bare model lack its prefix, buffers that are no weights were
saved along, GPT-2 keeps its matrices as [in, out], Gemma the scales of its norms less one, and gpt-oss all experts of a
layer in one tensor.

Source: docs/formats.md sections 1.3 and 7.6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from nearlight.dtypes import F32
from nearlight.formats import dequantize
from nearlight.package.fused_rows import rows_apart
from nearlight.package.stacked_experts import experts_apart
from nearlight.package.tensors import Bytes, StoredTensor


@dataclass(frozen=True)
class Layout:
    """How one family's tensors are named.

    `prefix` precedes every name but the output head's; names matching `buffers` are no weights; those matching
    `transposed` are stored [in, out], those matching `less_one` less one. `wrapped` matches the names in a
    model that also sees, whose part for text this is; `stacked` those of all experts' matrices [E, out, in] in one.
    `taken_apart` is done to tensors of which several are one in the files.
    """

    prefix: str
    buffers: re.Pattern[str]
    transposed: re.Pattern[str] | None = None
    less_one: re.Pattern[str] | None = None
    wrapped: re.Pattern[str] | None = None
    stacked: re.Pattern[str] | None = None
    taken_apart: Callable[[Mapping[str, StoredTensor]], dict[str, StoredTensor]] = dict


DECODER = Layout("model.", re.compile(r".*\.rotary_emb\.inv_freq"))
GPT2 = Layout(
    "transformer.",
    re.compile(r".*\bh\.\d+\.attn\.(bias|masked_bias)"),
    re.compile(r".*\bh\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight"),
)
_WRAPPED = re.compile(
    r"(?:language_model\.model|model\.language_model)\.(?P<name>.+)|(?:language_model\.)?(?P<head>lm_head\..+)"
)
_STACKED = re.compile(r".*\.experts\.(gate_up_proj|down_proj)")
GEMMA = Layout("model.", DECODER.buffers, less_one=re.compile(r".*norm\.weight"), wrapped=_WRAPPED)
GEMMA4 = Layout("model.", DECODER.buffers, wrapped=_WRAPPED, stacked=_STACKED)
WRAPPED = replace(DECODER, wrapped=_WRAPPED)
LLAMA4 = replace(WRAPPED, taken_apart=partial(experts_apart, in_turns=False))
GPT_OSS = replace(DECODER, taken_apart=partial(experts_apart, in_turns=True))
GRANITE_MOE = replace(DECODER, taken_apart=rows_apart)
NEMOTRON_H = replace(DECODER, prefix="backbone.")
QWEN_NEXT = replace(GEMMA, less_one=re.compile(r"(?!.*\blinear_attn\.norm\.).*norm\.weight"))
QWEN_NEXT_MOE = replace(QWEN_NEXT, taken_apart=rows_apart)
_DECODERS = ["exaone4", "falcon_h1", "glm4", "glm4_moe", "granite", "lfm2", "lfm2_moe", "llama", "ministral", "mixtral"]
_DECODERS += ["olmo2", "olmo3", "olmoe", "phi3", "qwen2", "qwen3", "qwen3_moe", "smollm3"]
LAYOUTS = {
    "gpt2": GPT2,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "gemma4_text": GEMMA4,
    "gpt_oss": GPT_OSS,
    "granitemoe": GRANITE_MOE,
    "granitemoehybrid": GRANITE_MOE,
    "llama4_text": LLAMA4,
    "ministral3": WRAPPED,
    "mistral": WRAPPED,
    "nemotron_h": NEMOTRON_H,
    "qwen3_5_text": QWEN_NEXT,
    "qwen3_5_moe_text": QWEN_NEXT_MOE,
    "qwen3_next": QWEN_NEXT_MOE,
} | dict.fromkeys(_DECODERS, DECODER)


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
        if layout.stacked is not None and layout.stacked.fullmatch(name) and len(tensor.shape) == 3:
            name, tensor = f"{name}.weight", replace(tensor, shape=(tensor.n_rows, tensor.row_length))
        full_name = name if has_prefix or name.startswith("lm_head.") else layout.prefix + name
        normalized[full_name] = tensor.renamed(full_name)
    return layout.taken_apart(normalized)


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
