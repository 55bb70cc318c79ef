"""Granite's MLPs and experts, whose gate and up are halves of one tensor, taken apart under usual names.

`input_linear` has the gate's rows first. Of experts it has a third axis before, [experts, 2 * inner, hidden], and
`output_linear` is [experts, hidden, inner].
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from nearlight.package.stacked_experts import MOST_EXPERTS
from nearlight.package.tensors import Bytes, StoredTensor

_HALVES = re.compile(
    r"(?P<layer>.*\.)(?P<of>block_sparse_moe|shared_mlp)\.(?P<kind>input_linear|output_linear)\.weight"
)
_PARTS = {"input_linear": ("gate_proj", "up_proj"), "output_linear": ("down_proj",)}


def halves_apart(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return tensors with those of MLPs and experts taken apart; what has not their shape stays as it is."""
    return {part.name: part for tensor in tensors.values() for part in _parts(tensor)}


def _parts(tensor: StoredTensor) -> Iterator[StoredTensor]:
    match, shape = _HALVES.fullmatch(tensor.name), tensor.shape
    names = _PARTS[match["kind"]] if match else ()
    n_axes, n_experts = (3, shape[0]) if match and match["of"] == "block_sparse_moe" and shape else (2, 1)
    fits = len(shape) == n_axes and 0 not in shape and shape[-2] % max(len(names), 1) == 0 and n_experts <= MOST_EXPERTS
    if not match or not fits:
        yield tensor
        return
    n_rows = shape[-2] // len(names)
    for i, name in enumerate(names):
        for expert in range(n_experts):
            inside, start = f"experts.{expert}.{name}" if n_axes == 3 else name, expert * shape[-2] + i * n_rows
            yield _rows(tensor, f"{match['layer']}{match['of']}.{inside}.weight", start, start + n_rows)


def _rows(tensor: StoredTensor, name: str, start: int, stop: int) -> StoredTensor:
    """Take rows of a tensor whose other axes are one after the other."""

    def read() -> Bytes:
        return tensor.read()[start:stop]

    return replace(tensor, name=name, shape=(stop - start, tensor.shape[-1]), read=read)
