"""The file that keeps a model's packed matrices: a header, then their bytes one after the other.

    "nearpack"  u32 version  u32 crc of the JSON  u64 length of the JSON
    JSON: {"key": ..., "matrices": [[name, format, n_out, n_in, checksum], ...]}
    the packed bytes, in that order, without gaps

Every byte is covered by the crc, a checksum or a comparison, so that damage anywhere is noticed. Checksums are taken
as the bytes are read, by all threads, while they are still in the processor's cache. What the key says is the caller's
business; here it only has to be the expected one.

Matrices are read, not mapped: pages of a file are small ones, and small pages are read at half the speed, at every
token (docs/decisions.md).
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TypeAlias

from nearlight import _native
from nearlight.dtypes import Format
from nearlight.kernels.cpu.ops import CpuOps
from nearlight.package.tensors import StoredTensor

VERSION = 1
MAX_HEADER_BYTES = 64 << 20
_MAGIC = b"nearpack"
_PREFIX = struct.Struct("<8sIIQ")
_WRITTEN_BYTES = 8 << 20
_BATCH_BYTES = 256 << 20
"""Of matrices that are read in one native call: between two, progress is told and Ctrl-C heard."""

Key: TypeAlias = Mapping[str, Any]
Matrix: TypeAlias = _native.Matrix


class DamagedError(Exception):
    """The file is not what was written: cut off, changed, or of another make."""


def layout_fingerprint() -> str:
    """Return a number for the layout that matrices are packed in: what packing makes of a fixed pattern of bytes.

    So no file is taken for what the kernels expect when the layout has changed and nobody thought of a version.
    """
    return f"{_native.packed_fingerprint():016x}"


def write_packed(file: BinaryIO, key: Key, matrices: Sequence[tuple[Format, _native.Matrix]]) -> Iterator[int]:
    """Write a file, and yield the bytes written so far, so that the caller may give up in between."""
    rows = [[m.name, str(format), *m.shape, m.checksum()] for format, m in matrices]
    header = json.dumps({"key": key, "matrices": rows}).encode()
    done = file.write(_PREFIX.pack(_MAGIC, VERSION, zlib.crc32(header), len(header)) + header)
    for _, matrix in matrices:
        packed = matrix.packed
        for start in range(0, len(packed), _WRITTEN_BYTES):
            done += file.write(packed[start : start + _WRITTEN_BYTES].data)
            yield done


def read_header(file: BinaryIO) -> dict[str, Any]:
    """Read the header, and leave the file where the packed bytes begin. Raises: DamagedError."""
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        raise DamagedError("cut off")
    magic, version, crc, length = _PREFIX.unpack(prefix)
    if magic != _MAGIC or version != VERSION or length > MAX_HEADER_BYTES:
        raise DamagedError("not a file of packed matrices of this version")
    raw = file.read(length)
    if len(raw) != length or zlib.crc32(raw) != crc:
        raise DamagedError("header")
    header = json.loads(raw)
    if not (isinstance(header, dict) and isinstance(header.get("key"), dict)):
        raise DamagedError("header")
    return header


def read_packed(file: BinaryIO, key: Key, ops: CpuOps, wanted: Sequence[StoredTensor]) -> Iterator[_native.Matrix]:
    """Yield the matrices that `wanted` would be packed into, without touching their bytes.

    Raises: DamagedError when the file holds others, is damaged, or its key is another.
    """
    header = read_header(file)
    if header["key"] != json.loads(json.dumps(key)):
        raise DamagedError("of another model, or an earlier version of it")
    rows = header.get("matrices")
    if not isinstance(rows, list) or [row[:-1] for row in rows] != [[w.name, str(w.format), *w.shape] for w in wanted]:
        raise DamagedError("other matrices")
    sums = [row[-1] for row in rows]
    offset = file.tell()
    batch: list[_native.Matrix] = []
    offsets: list[int] = []
    for index, tensor in enumerate(wanted):
        batch.append(ops.empty_matrix(tensor))
        offsets.append(offset)
        offset += batch[-1].n_bytes
        if offset - offsets[0] >= _BATCH_BYTES or index + 1 == len(wanted):
            try:
                found = _native.read_packed(ops.runtime, file.fileno(), batch, offsets)
            except RuntimeError as error:
                raise DamagedError(str(error)) from None
            if found != sums[index + 1 - len(batch) : index + 1]:
                raise DamagedError("checksum")
            yield from batch
            batch, offsets = [], []
    if file.seek(0, 2) != offset:
        raise DamagedError("longer than its matrices")
