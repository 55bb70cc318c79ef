"""Reader of the GGUF container: one file or a numbered set of parts, as metadata and tensors under their own names.

What the names and keys mean for a model is not known here (see gguf_names, gguf_config, gguf_tokenizer). Counts, sizes
and offsets are claims about the file and are compared with it before anything is touched.

Source: GGUF specification; parts follow llama.cpp's gguf-split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearlight import dtypes
from nearlight.dtypes import Format
from nearlight.errors import PackageError, UnsupportedError
from nearlight.package.gguf_metadata import Metadata
from nearlight.package.gguf_scan import Scanner
from nearlight.package.mapping import MappedFile, unreadable
from nearlight.package.tensors import StoredTensor

MAX_ALIGNMENT = 1 << 20
MAX_AXES = 4

READABLE = {
    0: dtypes.F32, 1: dtypes.F16, 2: dtypes.Q4_0, 3: dtypes.Q4_1, 6: dtypes.Q5_0, 7: dtypes.Q5_1, 8: dtypes.Q8_0,
    10: dtypes.Q2_K, 11: dtypes.Q3_K, 12: dtypes.Q4_K, 13: dtypes.Q5_K, 14: dtypes.Q6_K, 20: dtypes.IQ4_NL,
    23: dtypes.IQ4_XS, 30: dtypes.BF16, 39: dtypes.MXFP4,
}  # fmt: skip
_DESCRIBED = {
    16: Format("IQ2_XXS", 256, 66), 17: Format("IQ2_XS", 256, 74), 18: Format("IQ3_XXS", 256, 98),
    19: Format("IQ1_S", 256, 50), 21: Format("IQ3_S", 256, 110), 22: Format("IQ2_S", 256, 82),
    24: Format("I8", 1, 1), 25: Format("I16", 1, 2), 26: Format("I32", 1, 4), 27: Format("I64", 1, 8),
    28: Format("F64", 1, 8), 29: Format("IQ1_M", 256, 56), 34: Format("TQ1_0", 256, 54), 35: Format("TQ2_0", 256, 66),
    40: Format("NVFP4", 64, 36), 41: Format("Q1_0", 128, 18), 42: Format("Q2_0", 64, 18),
}  # fmt: skip
"""Types whose size is known and whose bits are not: a file with them opens, and reading such a tensor is refused."""

_PART_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True)
class GgufFile:
    """A GGUF model: the metadata of its first part and the tensors of all parts.

    Shapes: tensors are row-major, so GGUF's dimensions in reverse.
    """

    paths: tuple[Path, ...]
    metadata: Metadata
    tensors: Mapping[str, StoredTensor]

    @property
    def path(self) -> Path:
        return self.paths[0]


def part_paths(path: Path) -> list[Path]:
    """List the parts that a name like `x-00001-of-00003.gguf` speaks of; other names speak of themselves."""
    match = _PART_NAME.fullmatch(path.name)
    if match is None:
        return [path]
    count = int(match["count"])
    return [path.with_name(f"{match['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)] or [
        path
    ]


def read_gguf(path: Path) -> GgufFile:
    """Read the headers of a GGUF file, or of all parts when `path` is any one of a split model.

    Raises: PackageError when a part is missing or malformed; UnsupportedError for versions and types not known.
    """
    paths = part_paths(path)
    missing = [part.name for part in paths if not part.exists()]
    if missing:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise PackageError(
            "parts of the split model are missing", where=path, expected=f"{len(paths)} parts", found=f"no {names}"
        )
    parts = [_read_part(part) for part in paths]
    tensors: dict[str, StoredTensor] = {}
    for number, part in enumerate(parts):
        _check_part(part, number, len(parts))
        for name, tensor in part.tensors.items():
            if name in tensors:
                raise PackageError(f"tensor '{name}' appears twice", where=part.path, advice="remove one of the parts")
            tensors[name] = tensor
    total = parts[0].metadata.integer("split.tensors.count", len(tensors))
    if len(parts) > 1 and total != len(tensors):
        found = f"{len(tensors)} tensors in all parts"
        raise PackageError("split.tensors.count", where=path, expected=total, found=found)
    return GgufFile(tuple(paths), parts[0].metadata, tensors)


def _check_part(part: GgufFile, number: int, count: int) -> None:
    claimed = part.metadata.integer("split.count", 1)
    if claimed not in (0, count):
        raise PackageError(
            "split.count",
            where=part.path,
            expected=f"{count}, by the file's name",
            found=claimed,
            advice="keep the parts' names as they were published: name-00001-of-0000N.gguf",
        )
    if count > 1 and part.metadata.integer("split.no") != number:
        raise PackageError("split.no", where=part.path, expected=number, found=part.metadata.integer("split.no"))


def _read_part(path: Path) -> GgufFile:
    file = MappedFile(path)
    scanner = Scanner(file)
    _check_version(scanner)
    n_tensors = scanner.count("number of tensors", 24)
    n_values = scanner.count("number of metadata values", 13)
    values: dict[str, Any] = {}
    for index in range(n_values):
        key = scanner.name(f"metadata key {index}")
        if key in values:
            raise PackageError(f"metadata key '{key}' appears twice", where=path)
        values[key] = scanner.value(f"metadata '{key}'")
    infos = [_tensor_info(scanner, index) for index in range(n_tensors)]
    metadata = Metadata(path, values)
    alignment = _alignment(metadata)
    data_start = -(-scanner.position // alignment) * alignment
    return GgufFile((path,), metadata, _tensors(file, infos, data_start, alignment))


def _check_version(scanner: Scanner) -> None:
    path = scanner.file.path
    if scanner.file.memory[:4] != b"GGUF":
        found = ascii(scanner.file.memory[:4])
        raise PackageError("first bytes", where=path, expected="b'GGUF'", found=found, advice="this is no GGUF file")
    scanner.position = 4
    version = scanner.u32("version")
    if version & 0xFFFF == 0 and version:
        advice = "convert it to little-endian with gguf_convert_endian"
        raise UnsupportedError("byte order", where=path, expected="little-endian", found="big-endian", advice=advice)
    if version not in (2, 3):
        raise UnsupportedError("GGUF version", where=path, expected="2 or 3", found=version)


@dataclass(frozen=True)
class _TensorInfo:
    name: str
    format: Format
    shape: tuple[int, ...]
    offset: int


def _tensor_info(scanner: Scanner, index: int) -> _TensorInfo:
    path = scanner.file.path
    name = scanner.name(f"name of tensor {index}")
    n_axes = scanner.u32(f"axes of tensor '{name}'")
    if n_axes > MAX_AXES:
        raise PackageError(f"axes of tensor '{name}'", where=path, expected=f"at most {MAX_AXES}", found=n_axes)
    shape = tuple(scanner.u64(f"shape of tensor '{name}'") for _ in range(n_axes))[::-1]
    if 0 in shape:
        raise PackageError(f"shape of tensor '{name}'", where=path, expected="sizes above 0", found=list(shape))
    kind = scanner.u32(f"type of tensor '{name}'")
    format = READABLE.get(kind) or _DESCRIBED.get(kind)
    if format is None:
        known = " ".join(map(str, READABLE.values()))
        raise UnsupportedError(f"type of tensor '{name}'", where=path, expected=f"one of {known}", found=f"id {kind}")
    if (shape[-1] if shape else 1) % format.block_size:
        expected = f"a multiple of {format.block_size} for {format}"
        raise PackageError(f"row length of tensor '{name}'", where=path, expected=expected, found=list(shape))
    return _TensorInfo(name, format, shape, scanner.u64(f"offset of tensor '{name}'"))


def _alignment(metadata: Metadata) -> int:
    alignment = metadata.integer("general.alignment", 32, least=1, most=MAX_ALIGNMENT)
    if alignment & (alignment - 1):
        raise PackageError("general.alignment", where=metadata.path, expected="a power of two", found=alignment)
    return alignment


def _tensors(
    file: MappedFile, infos: Iterable[_TensorInfo], data_start: int, alignment: int
) -> dict[str, StoredTensor]:
    """Place every tensor in the file: aligned, inside it, and on nobody else's bytes."""
    tensors: dict[str, StoredTensor] = {}
    end, before = 0, ""
    for info in sorted(infos, key=lambda info: info.offset):
        if info.name in tensors:
            raise PackageError(f"tensor '{info.name}' appears twice", where=file.path)
        if info.offset % alignment:
            expected = f"a multiple of {alignment}"
            raise PackageError(f"offset of tensor '{info.name}'", where=file.path, expected=expected, found=info.offset)
        if info.offset < end:
            raise PackageError(f"tensors '{before}' and '{info.name}' overlap at offset {info.offset}", where=file.path)
        tensor = file.tensor(info.name, info.format, info.shape, data_start + info.offset)
        end, before = info.offset + tensor.n_bytes, info.name
        known = info.format in READABLE.values()
        tensors[info.name] = tensor if known else unreadable(tensor, file.path, list(READABLE.values()))
    return tensors
