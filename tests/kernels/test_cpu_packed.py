"""The file of packed matrices: what is read is what was written, and no damage goes unnoticed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nearlight import _native
from nearlight.dtypes import BF16, F32, Q4_0, Q6_K, Format
from nearlight.kernels.cpu import CpuOps, packed
from nearlight.package.tensors import StoredTensor

KEY = {"model": "a", "files": [["/b", 3]]}
SHAPES: list[tuple[Format, int, int]] = [(Q4_0, 37, 96), (BF16, 7, 5), (Q6_K, 64, 512), (F32, 3, 2)]


@pytest.fixture(scope="module")
def ops() -> CpuOps:
    return CpuOps(2)


@pytest.fixture(scope="module")
def tensors() -> list[StoredTensor]:
    random = np.random.default_rng(1)
    made = []
    for format, n_out, n_in in SHAPES:
        data = random.integers(0, 60, (n_out, format.row_bytes(n_in)), np.uint8)  # small bytes: finite scales
        made.append(StoredTensor.from_bytes(f"{format}.weight", format, (n_out, n_in), data))
    return made


@pytest.fixture(scope="module")
def matrices(ops: CpuOps, tensors: list[StoredTensor]) -> list[_native.Matrix]:
    return [ops.matrix(tensor) for tensor in tensors]


@pytest.fixture(scope="module")
def written(tensors: list[StoredTensor], matrices: list[_native.Matrix]) -> bytes:
    file = io.BytesIO()
    pairs = [(tensor.format, matrix) for tensor, matrix in zip(tensors, matrices, strict=True)]
    *_, n_bytes = packed.write_packed(file, KEY, pairs)
    assert n_bytes == len(file.getvalue())
    return file.getvalue()


def read(path: Path, content: bytes, ops: CpuOps, wanted: list[StoredTensor]) -> list[_native.Matrix]:
    path.write_bytes(content)
    with path.open("rb") as file:
        return list(packed.read_packed(file, KEY, ops, wanted))


def test_what_is_read_is_what_was_packed(
    tmp_path: Path, ops: CpuOps, tensors: list[StoredTensor], matrices: list[_native.Matrix], written: bytes
) -> None:
    found = read(tmp_path / "file", written, ops, tensors)
    assert [(m.name, m.shape) for m in found] == [(m.name, m.shape) for m in matrices]
    assert [m.packed.tobytes() for m in found] == [m.packed.tobytes() for m in matrices]


def test_a_changed_byte_is_noticed_wherever_it_is(
    tmp_path: Path, ops: CpuOps, tensors: list[StoredTensor], written: bytes
) -> None:
    random = np.random.default_rng(2)
    places = {*range(24), *random.integers(0, len(written), 200).tolist(), len(written) - 1}
    for place in places:
        changed = bytearray(written)
        changed[place] ^= 1 << random.integers(8)
        with pytest.raises(packed.DamagedError):
            read(tmp_path / "file", bytes(changed), ops, tensors)


def test_a_wrong_length_is_noticed(tmp_path: Path, ops: CpuOps, tensors: list[StoredTensor], written: bytes) -> None:
    for length in {0, 1, 23, 24, 100, *range(0, len(written), 1999), len(written) - 1}:
        with pytest.raises(packed.DamagedError):
            read(tmp_path / "file", written[:length], ops, tensors)
    with pytest.raises(packed.DamagedError, match="longer"):
        read(tmp_path / "file", written + b"\0", ops, tensors)


def test_other_matrices_or_another_key_are_noticed(
    tmp_path: Path, ops: CpuOps, tensors: list[StoredTensor], written: bytes
) -> None:
    for wanted in (tensors[1:], [*tensors[:-1], tensors[0]], [tensors[0].renamed("other"), *tensors[1:]]):
        with pytest.raises(packed.DamagedError, match="other matrices"):
            read(tmp_path / "file", written, ops, wanted)
    path = tmp_path / "file"
    path.write_bytes(written)
    with path.open("rb") as file, pytest.raises(packed.DamagedError, match="another model"):
        list(packed.read_packed(file, KEY | {"model": "b"}, ops, tensors))


@pytest.mark.parametrize(("format", "n_out", "n_in"), SHAPES)
def test_rows_packed_in_pieces_are_as_packed_at_once(format: Format, n_out: int, n_in: int, ops: CpuOps) -> None:
    data = np.random.default_rng(3).integers(0, 60, (n_out, format.row_bytes(n_in)), np.uint8)

    def rows(n_rows: int) -> Iterator[np.ndarray]:
        return (data[start : start + 16] for start in range(0, n_out, 16))

    whole = ops.matrix(StoredTensor.from_bytes("w", format, (n_out, n_in), data))
    pieces = ops.matrix(StoredTensor("w", format, (n_out, n_in), lambda: data, make_rows=rows))
    assert whole.packed.tobytes() == pieces.packed.tobytes()
    assert whole.checksum() == pieces.checksum()


def test_rows_that_belong_nowhere_are_refused(ops: CpuOps) -> None:
    matrix = ops.empty_matrix(StoredTensor.from_bytes("w", F32, (37, 5), np.zeros((37, 20), np.uint8)))
    for first_row, n_rows, n_bytes in ((8, 16, 20), (32, 16, 20), (0, 8, 20), (-16, 16, 20), (48, 1, 20), (0, 16, 24)):
        with pytest.raises(ValueError, match="w: expected"):
            matrix.fill(ops.runtime, first_row, np.zeros((n_rows, n_bytes), np.uint8))


def test_the_layout_has_the_same_fingerprint_every_time() -> None:
    assert packed.layout_fingerprint() == packed.layout_fingerprint()
    assert len(packed.layout_fingerprint()) == 16
