"""Reader of the safetensors container: an 8-byte length, a JSON header, raw row-major data.

Our own, because the library copies tensors and knows no mapped views of bf16 in numpy; and because the header is a
stranger's claim about the file, checked here against the file itself, claim by claim.

Source: safetensors format description (huggingface/safetensors README).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from nearlight.dtypes import BF16, F16, F32, Format
from nearlight.errors import PackageError
from nearlight.package.mapping import MappedFile, check_shape, unreadable
from nearlight.package.tensors import Bytes, StoredTensor

MAX_HEADER_BYTES = 100_000_000
MAX_NAME = 1024

READABLE = {"F32": F32, "F16": F16, "BF16": BF16}
_DOUBLE = Format("F64", 1, 8)
_OTHERS = {
    "F64": 8, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "C64": 8,
}  # fmt: skip
BYTES = Format("U8", 1, 1)
"""Of what is packed in some way of its own: readable, and no weights by itself."""
FORMATS = READABLE | {dtype: Format(dtype, 1, n_bytes) for dtype, n_bytes in _OTHERS.items()}


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Describe every tensor of a safetensors file, reading its header only.

    F64 becomes F32 when read; other integers than bytes and 8-bit floats are described but raise
    UnsupportedError when read.
    Raises: PackageError when the header is malformed or contradicts the file.
    """
    file = MappedFile(path)
    header, data_start = _header(file)
    header.pop("__metadata__", None)
    tensors = {}
    ranges = []
    for name, entry in header.items():
        format, shape, begin, end = _entry(path, name, entry)
        tensor = file.tensor(name, format, shape, data_start + begin)
        if end - begin != tensor.n_bytes:
            raise PackageError(
                f"data_offsets of tensor '{name}'",
                where=path,
                expected=f"{tensor.n_bytes} bytes for {format} {list(shape)}",
                found=f"{end - begin} bytes",
            )
        ranges.append((begin, end, name))
        tensors[name] = _readable(tensor, path)
    _check_ranges(path, ranges, file.length - data_start)
    return tensors


def _header(file: MappedFile) -> tuple[dict[str, Any], int]:
    """Parse the JSON header; return it and where the data begins."""
    if file.length < 8:
        raise PackageError("safetensors header length", where=file.path, expected="8 bytes", found=file.length)
    size = int.from_bytes(file.memory[:8], "little")
    limit = min(MAX_HEADER_BYTES, file.length - 8)
    if size > limit:
        raise PackageError(
            "safetensors header length",
            where=file.path,
            expected=f"at most {limit} bytes",
            found=size,
            advice="the file is damaged, incomplete, or no safetensors file",
        )
    try:
        header = json.loads(file.memory[8 : 8 + size].decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise PackageError(f"safetensors header is not valid JSON ({reason})", where=file.path) from None
    if not isinstance(header, dict):
        raise PackageError("safetensors header", where=file.path, expected="a JSON object", found=type(header).__name__)
    return header, 8 + size


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, value in pairs:
        if name in entries:
            raise ValueError(f"'{name[:80]}' appears twice")
        entries[name] = value
    return entries


def _entry(path: Path, name: str, entry: object) -> tuple[Format, tuple[int, ...], int, int]:
    """Check one header entry by itself; return format, shape, begin and end."""
    if len(name) > MAX_NAME:
        raise PackageError(f"name of tensor '{name[:40]}…'", where=path, expected=f"at most {MAX_NAME} characters")
    if not isinstance(entry, dict):
        found = repr(entry)[:80]
        raise PackageError(f"header entry of tensor '{name}'", where=path, expected="an object", found=found)
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in FORMATS:
        raise PackageError(
            f"dtype of tensor '{name}'", where=path, expected="one of " + " ".join(FORMATS), found=repr(dtype)[:40]
        )
    shape = entry.get("shape")
    if not _is_counts(shape):
        raise PackageError(f"shape of tensor '{name}'", where=path, expected="a list of sizes", found=repr(shape)[:80])
    check_shape(shape, path, name)
    offsets = entry.get("data_offsets")
    if not _is_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        found = repr(offsets)[:80]
        raise PackageError(f"data_offsets of tensor '{name}'", where=path, expected="[begin, end]", found=found)
    return FORMATS[dtype], tuple(shape), offsets[0], offsets[1]


def _is_counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_ranges(path: Path, ranges: list[tuple[int, int, str]], n_data: int) -> None:
    """Require that tensors follow one another and fill the file: no overlap, no gap, nothing behind."""
    position = 0
    for begin, end, name in sorted(ranges):
        if begin != position:
            kind = "overlaps the tensor before it" if begin < position else "leaves a gap before it"
            raise PackageError(f"tensor '{name}' {kind}", where=path, expected=f"offset {position}", found=begin)
        position = end
    if position != n_data:
        raise PackageError(
            "bytes behind the last tensor", where=path, expected=f"{position} bytes of data", found=n_data
        )


def _readable(tensor: StoredTensor, path: Path) -> StoredTensor:
    if tensor.format == _DOUBLE:
        return StoredTensor(tensor.name, F32, tensor.shape, lambda: _halved(tensor.read()))
    if tensor.format in READABLE.values() or tensor.format == BYTES:
        return tensor
    return unreadable(tensor, path, list(READABLE.values()))


def _halved(doubles: Bytes) -> Bytes:
    """Shapes: uint8 [rows, 8 K] -> [rows, 4 K]."""
    with np.errstate(over="ignore"):
        return doubles.view("<f8").astype("<f4").view(np.uint8)
