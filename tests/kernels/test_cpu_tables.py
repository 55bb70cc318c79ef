"""Rows looked up where they are stored: the values of the codec, in every format, and nothing kept."""

from __future__ import annotations

import numpy as np
import pytest

from nearlight.bench.synthetic import random_rows
from nearlight.dtypes import ALL, BF16, F32, Format
from nearlight.errors import ShapeError
from nearlight.formats import dequantize
from nearlight.kernels.cpu import CpuOps
from nearlight.kernels.reference import ReferenceOps
from nearlight.package.tensors import Bytes, StoredTensor
from tests.kernels.cpu_steps import rows_of

IDS = [3, 0, 6, -1, 6, 7, 2**31 - 1, 5]  # three of which are no rows
STORED = [3, 0, 6, 0, 6, 0, 0, 5]


def table_of(format: Format, n_rows: int, width: int) -> tuple[StoredTensor, Bytes]:
    data = np.stack([np.roll(random_rows(format, 1, width), row * format.block_bytes) for row in range(n_rows)])
    data = data.reshape(n_rows, -1)
    return StoredTensor.from_bytes("table", format, (n_rows, width), data), data


@pytest.mark.parametrize("format", ALL, ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_rows_are_those_of_the_codec(format: Format, threads: int) -> None:
    width = 768 if format.block_size > 1 else 611
    tensor, data = table_of(format, 7, width)
    ops = CpuOps(threads)
    table, rows = ops.table(tensor), rows_of(len(IDS), tokens=IDS)
    found = ops.program(lambda symbolic: ops.look_up(table, symbolic.tokens, 0.5))(rows)
    wanted = dequantize(format, data, width)[STORED] * np.float32(0.5)
    np.testing.assert_allclose(found, wanted, rtol=3e-7, atol=0)
    reference = ReferenceOps()
    same = reference.program(lambda given: reference.look_up(reference.table(tensor), given.tokens, 0.5))(rows)
    np.testing.assert_array_equal(same, wanted)


def test_a_table_is_read_a_row_at_a_time() -> None:
    """As a file that is mapped: the same memory, which is seen to change."""
    tensor, data = table_of(F32, 7, 11)
    ops = CpuOps(2)
    table = ops.table(tensor)
    program = ops.program(lambda symbolic: ops.look_up(table, symbolic.tokens))
    data[5] = 0
    np.testing.assert_array_equal(program(rows_of(1, tokens=[5])), np.zeros((1, 11), np.float32))


def test_rows_may_lie_on_top_of_each_other() -> None:
    """As those of a synthetic model's table do."""
    row = random_rows(BF16, 1, 34)
    tensor = StoredTensor("table", BF16, (1000, 34), lambda: np.broadcast_to(row, (1000, row.shape[1])))
    ops = CpuOps(1)
    table = ops.table(tensor)
    found = ops.program(lambda symbolic: ops.look_up(table, symbolic.tokens))(rows_of(2, tokens=[0, 999]))
    np.testing.assert_array_equal(found[0], found[1])
    assert table.shape == (1000, 34)


def test_what_is_no_table_is_refused() -> None:
    ops = CpuOps(1)
    with pytest.raises(ShapeError, match=r"t: expected a matrix \[n, width\], found \[3\]"):
        ops.table(StoredTensor("t", F32, (3,), lambda: np.zeros((1, 12), np.uint8)))
    with pytest.raises(ValueError, match="t: expected rows of 12 bytes"):
        ops.table(StoredTensor("t", F32, (2, 3), lambda: np.zeros((2, 8), np.uint8)))
