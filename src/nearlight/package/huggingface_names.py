"""Tensors of a Hugging Face directory under the names and orientation that transformers' model classes have today.

Files differ from that in three ways: names saved from the bare model lack its prefix, buffers that are no weights were
saved along, and GPT-2 keeps its matrices as [in, out].

Source: docs/formats.md sections 1.3 and 7.6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nearlight.package.tensors import Bytes, StoredTensor


@dataclass(frozen=True)
class Layout:
    """How one family's tensors are named.

    `prefix` precedes every name but the output head's; names matching `buffers` are no weights; those matching
    `transposed` are stored [in, out].
    """

    prefix: str
    buffers: re.Pattern[str]
    transposed: re.Pattern[str] | None = None


DECODER = Layout("model.", re.compile(r".*\.rotary_emb\.inv_freq"))
GPT2 = Layout(
    "transformer.",
    re.compile(r".*\bh\.\d+\.attn\.(bias|masked_bias)"),
    re.compile(r".*\bh\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight"),
)
LAYOUTS = {"gpt2": GPT2} | dict.fromkeys(
    ("llama", "mistral", "mixtral", "olmo2", "qwen2", "qwen3", "qwen3_moe", "smollm3"), DECODER
)


def normalize(model_type: str, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Give tensors their canonical names and `[out, in]` orientation; families not listed are left as they are."""
    if model_type not in LAYOUTS:
        return dict(tensors)
    layout = LAYOUTS[model_type]
    has_prefix = any(name.startswith(layout.prefix) for name in tensors)
    normalized = {}
    for name, tensor in tensors.items():
        if layout.buffers.fullmatch(name):
            continue
        if layout.transposed is not None and layout.transposed.fullmatch(name) and len(tensor.shape) == 2:
            tensor = _transposed(tensor)
        full_name = name if has_prefix or name.startswith("lm_head.") else layout.prefix + name
        normalized[full_name] = tensor.renamed(full_name)
    return normalized


def _transposed(tensor: StoredTensor) -> StoredTensor:
    """Swap the two axes when read.

    Shapes: [in, out] -> [out, in]; safetensors formats have one value to a block, so values move alone.
    """
    n_in, n_out = tensor.shape

    def read() -> Bytes:
        values = tensor.read().reshape(n_in, n_out, tensor.format.block_bytes)
        return np.ascontiguousarray(values.swapaxes(0, 1)).reshape(n_out, n_in * tensor.format.block_bytes)

    return StoredTensor(tensor.name, tensor.format, (n_out, n_in), read)
