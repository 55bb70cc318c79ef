"""Matrices of which Hugging Face keeps several in one tensor, one's rows after the other's, taken apart.

Gate and up of an MLP are [2 * inner, hidden], gate first; those of experts have an axis before, [experts, 2 * inner,
hidden], and so has down, [experts, hidden, inner]. Granite calls them `input_linear` and `output_linear`.

Source: docs/formats.md sections 7.11 and 7.21.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from nearlight.package.stacked_experts import MOST_EXPERTS
from nearlight.package.tensors import StoredTensor

_GATED, _DOWN = ("gate_proj", "up_proj"), ("down_proj",)
_PARTS = {"gate_up_proj": _GATED, "down_proj": _DOWN, "input_linear": _GATED, "output_linear": _DOWN}
_FUSED = re.compile(rf"(?P<place>.*?)(\.experts)?\.(?P<kind>{'|'.join(_PARTS)})(\.weight)?")


def rows_apart(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return tensors with those of MLPs and experts taken apart; what has not their shape stays as it is."""
    return {part.name: part for tensor in tensors.values() for part in _parts(tensor)}


def _parts(tensor: StoredTensor) -> Iterator[StoredTensor]:
    match, shape = _FUSED.fullmatch(tensor.name), tensor.shape
    names = _PARTS[match["kind"]] if match else ()
    n_experts = shape[0] if len(shape) == 3 else 1
    fits = len(shape) in (2, 3) and 0 not in shape and shape[-2] % max(len(names), 1) == 0 and n_experts <= MOST_EXPERTS
    if not match or not fits:
        yield tensor
        return
    rows, n_rows = replace(tensor, shape=(n_experts * shape[-2], shape[-1])), shape[-2] // len(names)
    for i in range(n_experts * len(names)):
        expert = f"experts.{i // len(names)}." if len(shape) == 3 else ""
        name = f"{match['place']}.{expert}{names[i % len(names)]}.weight"
        yield rows.part(i * n_rows, (i + 1) * n_rows).renamed(name)
