"""Views of output rows: the same bits as the whole matrix gives there, on the memory of the whole."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from nearlight import _native, dtypes
from nearlight.dtypes import BF16, F32, Q4_0, Q6_K, Format
from nearlight.kernels.cpu import CpuOps
from tests.kernels.cpu_steps import Floats, random, rows_of, stored
from tests.kernels.test_cpu_matmul import random_bytes, same_bits, tensor_of, weights_of

N_OUT, N_IN = 150, 300  # ten tiles, the last of six rows, two in the last group of four; blocks partly filled
ALL = pytest.mark.parametrize("format", dtypes.ALL, ids=str)
ROWS = (1, 3, 8, 9, 40)  # of GEMV, and of GEMM with and without a last panel that is full


def unit_of(format: Format) -> int:
    return 64 if format in (dtypes.F32, dtypes.F16, BF16) else 16


def ranges_of(format: Format) -> list[tuple[int, int]]:
    """Ranges of one row and of all, in one tile, ending within a tile, within a group, at the end of the matrix."""
    unit = unit_of(format)
    firsts = sorted({0, unit, 2 * unit, (N_OUT - 1) // unit * unit})
    return [(i, last) for i in firsts for last in (i + 1, i + 16, i + 41, i + 64, N_OUT) if last <= N_OUT]


def matrix_of(ops: CpuOps, format: Format) -> _native.Matrix:
    return ops.matrix(tensor_of(format, random_bytes(format, N_OUT, N_IN), N_IN))


def products(ops: CpuOps, weight: _native.Matrix, bias: Floats | None = None) -> list[Floats]:
    """Multiply the first rows of the same 40 with a matrix, in steps of several sizes."""
    table = ops.matrix(stored(random(max(ROWS), N_IN, seed=1)))
    vector = None if bias is None else ops.vector(stored(bias))
    program = ops.program(lambda rows: ops.linear(ops.embed(table, rows.tokens), weight, vector))
    return [program(rows_of(n)) for n in ROWS]


@ALL
@pytest.mark.parametrize("threads", [1, 3])
def test_a_view_multiplies_as_these_rows_of_the_whole(threads: int, format: Format) -> None:
    ops, bias = CpuOps(threads), random(N_OUT, seed=2)
    whole = matrix_of(ops, format)
    wanted = products(ops, whole, bias)
    for first, last in ranges_of(format):
        view = whole.view(first, last)
        assert view.shape == (last - first, N_IN)
        for found, rows in zip(products(ops, view, bias[first:last]), wanted, strict=True):
            assert same_bits(found, np.ascontiguousarray(rows[:, first:last])), (first, last)


@ALL
def test_lookups_in_a_view_count_its_own_rows(format: Format) -> None:
    ops = CpuOps(2)
    whole, weights = matrix_of(ops, format), weights_of(format, random_bytes(format, N_OUT, N_IN), N_IN)
    for first, last in ranges_of(format):
        view, ids = whole.view(first, last), [last - first - 1, 0, (last - first) // 2]
        found = ops.program(lambda rows, view=view: ops.embed(view, rows.tokens))(rows_of(3, tokens=ids))
        assert np.array_equal(found, weights[first:last][ids])


@ALL
def test_a_view_of_a_view_is_one_of_the_whole(format: Format) -> None:
    ops, unit = CpuOps(2), unit_of(format)
    whole = matrix_of(ops, format)
    outer = whole.view(unit, N_OUT)
    inner = outer.view(unit, unit + 21)
    for found, wanted in zip(products(ops, inner), products(ops, whole), strict=True):
        assert same_bits(found, np.ascontiguousarray(wanted[:, 2 * unit : 2 * unit + 21]))
    with pytest.raises(ValueError, match=rf"found \[0, {N_OUT}\)"):
        outer.view(0, N_OUT)


@pytest.mark.parametrize("format", [F32, BF16, Q4_0, Q6_K], ids=str)
def test_a_view_outlives_the_matrix(format: Format) -> None:
    ops = CpuOps(2)
    whole = matrix_of(ops, format)
    wanted = products(ops, whole)[0]
    inner = whole.view(64, N_OUT).view(0, 70)
    del whole
    gc.collect()
    others = [matrix_of(ops, format) for _ in range(3)]  # would be given the memory, were it free
    assert same_bits(products(ops, inner)[0], np.ascontiguousarray(wanted[:, 64:134]))
    assert others


@ALL
def test_ranges_that_are_none_are_refused(format: Format) -> None:
    whole, unit = matrix_of(CpuOps(1), format), unit_of(format)
    ranges = [(-unit, unit), (0, 0), (unit, unit), (2 * unit, unit), (0, N_OUT + 1), (2**62, 2**62 + 1)]
    for first, last in [*ranges, (1, N_OUT), (unit - 8, N_OUT), (unit // 2, N_OUT), (unit + 1, N_OUT)]:
        with pytest.raises(ValueError, match=f"expected a view of rows from a multiple of {unit} up to 150 at most"):
            whole.view(first, last)


@pytest.mark.parametrize("format", [F32, Q4_0], ids=str)
def test_a_view_is_neither_filled_nor_kept_on_disk(format: Format) -> None:
    ops = CpuOps(1)
    whole = matrix_of(ops, format)
    view, before = whole.view(64, 128), whole.checksum()
    assert view.name == f"w.{format}[64:128]"
    assert view.n_bytes == 64 * format.row_bytes(-(-N_IN // format.block_size) * format.block_size)
    refusals = [
        lambda: view.fill(ops.runtime, 0, random_bytes(format, 64, N_IN)),
        lambda: view.packed,
        lambda: view.checksum(),
        lambda: _native.read_packed(ops.runtime, 0, [view], [0]),
    ]
    for refused in refusals:
        with pytest.raises(ValueError, match="expected a whole matrix, found a view"):
            refused()
    assert whole.checksum() == before
