"""Experts of which Hugging Face keeps all of a layer in one tensor, taken apart under usual names.

Plain ones lie as [experts, in, out]: in llama4 gate before up, in gpt-oss as the even and odd outputs. There, in MXFP4,
they lie as rows, gate and up in turns too: `_blocks` [experts, out, in / 32, 16] of two codes a byte, neighbours, and
`_scales`, one a block. GGML's blocks have the scale before the codes, and a byte has one code of each half. For those
that lie as [experts, out, in] there is `fused_rows`.

Source: docs/formats.md section 7.14.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from nearlight.dtypes import MXFP4
from nearlight.package.safetensors import BYTES
from nearlight.package.tensors import Bytes, StoredTensor

_PARTS = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
MOST_EXPERTS = 4096
"""A layer's, beyond which a file tells nonsense: each becomes a tensor."""


def experts_apart(tensors: Mapping[str, StoredTensor], in_turns: bool) -> dict[str, StoredTensor]:
    """Return tensors with those of experts taken apart; what has not their shape stays as it is.

    `in_turns`: outputs of gate and up follow one another, one by one.
    """
    apart: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".experts.")
        for part in _parts(tensor, f"{layer}.experts.", kind, tensors, in_turns) if layer else [tensor]:
            apart[part.name] = part
    return apart


def _parts(
    tensor: StoredTensor, prefix: str, kind: str, tensors: Mapping[str, StoredTensor], in_turns: bool
) -> Iterator[StoredTensor]:
    what, _, form = kind.partition("_proj")
    names = _PARTS.get(f"{what}_proj", ())
    shape, n_axes = tensor.shape, {"": 3, "_bias": 2, "_blocks": 4}.get(form)
    scales = tensors.get(f"{tensor.name.removesuffix('_blocks')}_scales", tensor)
    fits = n_axes == len(shape) and 0 not in shape and shape[0] <= MOST_EXPERTS
    if form == "_blocks":
        fits = fits and shape[3] == 16 and scales.shape == shape[:3] and {tensor.format, scales.format} == {BYTES}
    if not names or not fits:
        yield tensor
        return
    for first, name in enumerate(names):
        every = slice(first, None, len(names)) if in_turns else _share(shape[-1], first, len(names))
        if form == "_bias":
            yield _biases(tensor, f"{prefix}*.{name}.bias", every)
            continue
        for expert in range(shape[0]):
            full_name = f"{prefix}{expert}.{name}.weight"
            if form == "":
                yield _plain(tensor, full_name, expert, every)
            else:
                yield _in_blocks(tensor, scales, full_name, expert, every)


def _share(n: int, first: int, n_shares: int) -> slice:
    return slice(first * n // n_shares, (first + 1) * n // n_shares)


def _biases(tensor: StoredTensor, name: str, every: slice) -> StoredTensor:
    """Take some outputs of all experts' biases [E, out] as one vector."""
    n_experts, n_out = tensor.shape
    n_taken, size = len(range(n_out)[every]), tensor.format.block_bytes

    def read() -> Bytes:
        values = tensor.read().reshape(n_experts, n_out, size)[:, every]
        return np.ascontiguousarray(values).reshape(1, -1)

    return replace(tensor, name=name, shape=(n_experts * n_taken,), read=read)


def _plain(tensor: StoredTensor, name: str, expert: int, every: slice) -> StoredTensor:
    """Take some outputs of an expert's [in, out] as a matrix [out, in]."""
    n_experts, n_in, n_out = tensor.shape
    n_taken, size = len(range(n_out)[every]), tensor.format.block_bytes

    def read() -> Bytes:
        values = tensor.read().reshape(n_experts, n_in, n_out, size)[expert, :, every]
        return np.ascontiguousarray(values.swapaxes(0, 1)).reshape(n_taken, n_in * size)

    return replace(tensor, name=name, shape=(n_taken, n_in), read=read)


def _in_blocks(blocks: StoredTensor, scales: StoredTensor, name: str, expert: int, every: slice) -> StoredTensor:
    """Take some rows of an expert's codes and scales as a matrix in MXFP4."""
    n_experts, n_out, n_blocks, _ = blocks.shape
    n_taken = len(range(n_out)[every])

    def read() -> Bytes:
        pairs = blocks.read().reshape(n_experts, n_out, n_blocks, 16)[expert, every]
        codes = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(n_taken, n_blocks, 32)
        found = np.empty((n_taken, n_blocks, 17), np.uint8)
        found[..., 0] = scales.read().reshape(n_experts, n_out, n_blocks)[expert, every]
        found[..., 1:] = codes[..., :16] | codes[..., 16:] << 4
        return found.reshape(n_taken, 17 * n_blocks)

    return StoredTensor(name, MXFP4, (n_taken, 32 * n_blocks), read, blocks.release)
