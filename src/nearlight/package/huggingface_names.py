"""Tensors of a Hugging Face directory under the names and orientation that transformers' model classes have today.

Files differ from that in some ways: names saved from the bare model lack its prefix, buffers that are no weights were
saved along, GPT-2 keeps its matrices as [in, out], Gemma the scales of its norms less one, and gpt-oss all experts of a
layer in one tensor.

Source: docs/formats.md sections 1.3 and 7.6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from nearlight.dtypes import F32
from nearlight.formats import dequantize
from nearlight.package.stacked_experts import experts_apart
from nearlight.package.tensors import Bytes, StoredTensor


@dataclass(frozen=True)
class Layout:
    """How one family's tensors are named.

    `prefix` precedes every name but the output head's; names matching `buffers` are no weights; those matching
    `transposed` are stored [in, out], those matching `less_one` less one. `wrapped` matches the names in a
    model that also sees, whose part for text this is; `stacked` those of all experts' matrices [E, out, in] in one.
    """

    prefix: str
    buffers: re.Pattern[str]
    transposed: re.Pattern[str] | None = None
    less_one: re.Pattern[str] | None = None
    wrapped: re.Pattern[str] | None = None
    stacked: re.Pattern[str] | None = None


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
_DECODERS = ["exaone4", "glm4", "glm4_moe", "gpt_oss", "granite", "llama", "mistral", "mixtral", "olmo2", "olmo3"]
_DECODERS += ["qwen2", "qwen3", "qwen3_moe", "smollm3"]
LAYOUTS = {"gpt2": GPT2, "gemma2": GEMMA, "gemma3_text": GEMMA, "gemma4_text": GEMMA4}
LAYOUTS |= dict.fromkeys(_DECODERS, DECODER)


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
    return experts_apart(normalized) if model_type == "gpt_oss" else normalized


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
