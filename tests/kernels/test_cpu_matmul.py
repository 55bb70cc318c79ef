"""Products and lookups of every stored format, against the gguf package's weights (or a plain reading) in float64."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from nearlight import _native, dtypes
from nearlight.dtypes import Format
from nearlight.errors import NearlightError
from nearlight.kernels.cpu import CpuOps
from nearlight.package.tensors import StoredTensor
from tests.formats.plain_affine import plain_affine
from tests.kernels.cpu_steps import Floats, random, rows_of, stored

HALF_FIELDS = {
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
    **{format.name: [0] for format in dtypes.AFFINE},
}  # fmt: skip
"""Where the f16 scales of a block lie."""

ALL = pytest.mark.parametrize("format", dtypes.ALL, ids=str)
QUANTIZED = pytest.mark.parametrize("format", dtypes.ALL[3:], ids=str)
LEAST_SCALE = np.float32(2.0**-100)  # of activations; what is smaller has zeros for codes
MANY_ROWS = 40  # more than any kernel holds in registers, and no multiple of what it does hold


def random_bytes(format: Format, n_out: int, n_in: int, seed: int = 0) -> NDArray[np.uint8]:
    """Make a matrix's bytes: codes and sub-scales of all values, scales of either sign about 0.1."""
    rng = np.random.default_rng(seed)
    if format is dtypes.F32:
        return rng.normal(size=(n_out, n_in)).astype(np.float32).view(np.uint8)
    if format is dtypes.F16:
        return rng.normal(size=(n_out, n_in)).astype(np.float16).view(np.uint8)
    if format is dtypes.BF16:
        return np.ascontiguousarray(rng.normal(size=(n_out, n_in)).astype(np.float32).view(np.uint16)[:, 1::2]).view(
            np.uint8
        )
    blocks = rng.integers(0, 256, (n_out, -(-n_in // format.block_size), format.block_bytes), dtype=np.uint8)
    if format is dtypes.MXFP4:
        blocks[..., 0] = rng.integers(120, 130, blocks.shape[:2])
    for field in HALF_FIELDS.get(format.name, []):
        scales = rng.normal(scale=0.1, size=(*blocks.shape[:2], 1)).astype(np.float16)
        blocks[..., field : field + 2] = scales.view(np.uint8)
    return blocks.reshape(n_out, -1)


def weights_of(format: Format, data: NDArray[np.uint8], n_in: int) -> Floats:
    if format in dtypes.AFFINE:
        return plain_affine(format, data)[:, :n_in]
    values = gguf.dequantize(data, gguf.GGMLQuantizationType[format.name])
    return np.asarray(values, dtype=np.float32).reshape(len(data), -1)[:, :n_in]


def tensor_of(format: Format, data: NDArray[np.uint8], n_in: int) -> StoredTensor:
    return StoredTensor.from_bytes(f"w.{format}", format, (len(data), n_in), data)


def products(ops: CpuOps, x: Floats, tensor: StoredTensor, bias: Floats | None = None) -> list[Floats]:
    """Multiply the first 1 … 13, 17 and all rows of x, each in a step of its own, the whole of x last.

    Up to 12 rows are one panel of GEMV; 13 and 17 are panels of GEMM of all heights that there are.
    """
    table, weight = ops.matrix(stored(x)), ops.matrix(tensor)
    vector = None if bias is None else ops.vector(stored(bias))
    program = ops.program(lambda rows: ops.linear(ops.embed(table, rows.tokens), weight, vector))
    return [program(rows_of(n)) for n in (*range(1, 14), 17, len(x))]


def as_kernels_see(x: Floats, format: Format) -> NDArray[np.float64]:
    """Round activations as `quantize` does: bf16 where the level multiplies it, or int8 with a scale per 32 inputs.

    But for weights of 8 bits, scales have few bits of mantissa.
    """
    if format is dtypes.BF16 and _native.isa() == "avx512":
        bits = x.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
    if format in (dtypes.F32, dtypes.F16, dtypes.BF16):
        return x.astype(np.float64)
    blocks = np.pad(x, ((0, 0), (0, -x.shape[1] % 32))).reshape(len(x), -1, 32)
    largest = np.abs(blocks).max(axis=2, keepdims=True)
    scale = largest / np.float32(127)
    if format is dtypes.Q8_0 or format.name.startswith("W8"):
        to_code = inverse(largest, 127)
    else:
        scale = scale_of_few_bits(blocks, scale, 1 if format.block_size == 256 else 4)
        to_code = inverse(scale, 1)
    codes = np.rint(blocks * to_code).astype(np.float64)
    assert (np.abs(codes) <= 127).all()
    return (codes * scale).reshape(len(x), -1)[:, : x.shape[1]]


def scale_of_few_bits(blocks: Floats, scale: Floats, n_bits: int) -> Floats:
    """Round scales up to so many bits of mantissa; of 4 take the next one where it leaves smaller errors."""
    unit = np.uint32(1 << 23 - n_bits)
    up = scale.view(np.uint32) + (unit - 1) & ~(unit - 1)
    least, following = up.view(np.float32), (up + unit).view(np.float32)
    if n_bits == 1:
        return least
    return np.where(squared_errors(blocks, following) < squared_errors(blocks, least), following, least)


def squared_errors(blocks: Floats, scale: Floats) -> Floats:
    """Sum in the order of the kernels, which add the halves of a vector, its quarters, …; shape [rows, blocks, 1]."""
    scaled = blocks * inverse(scale, 1)
    squares = (scaled - np.rint(scaled)) ** 2
    sums = squares[..., :16] + squares[..., 16:]
    for width in (8, 4, 2, 1):
        sums = sums[..., :width] + sums[..., width:]
    return sums * (scale * scale)


def inverse(values: Floats, numerator: float) -> Floats:
    return np.divide(np.float32(numerator), values, where=values >= LEAST_SCALE, out=np.zeros_like(values))


def assert_close(found: Floats, x: NDArray[np.float64], weights: Floats, bias: Any = 0.0) -> None:
    """Compare with float64; the sums may be off by float32's rounding of the terms, no more."""
    expected = x @ weights.T.astype(np.float64) + bias
    magnitude = np.abs(x) @ np.abs(weights.T.astype(np.float64)) + np.abs(bias)
    assert (np.abs(found - expected) <= 1e-6 * magnitude + 1e-30).all()


def same_bits(a: Floats, b: Floats) -> bool:
    return np.array_equal(a.view(np.int32), b.view(np.int32))


@ALL
@pytest.mark.parametrize(("n_out", "blocks"), [(1, 1), (15, 3), (17, 5), (33, 2), (70, 7)])
def test_products_are_those_of_the_weights_whatever_the_row_count(format: Format, n_out: int, blocks: int) -> None:
    n_in = max(format.block_size, 31) * blocks  # 31: floats need no multiple of anything
    data = random_bytes(format, n_out, n_in, seed=n_out)
    x = random(MANY_ROWS, n_in, seed=100 + blocks)
    x[3] = 0.0
    bias = random(n_out, seed=9)
    *fewer, whole = products(CpuOps(1), x, tensor_of(format, data, n_in), bias)
    assert_close(whole, as_kernels_see(x, format), weights_of(format, data, n_in), bias)
    for part in fewer:
        assert same_bits(part, whole[: len(part)])


@QUANTIZED
def test_a_last_block_may_be_partly_filled(format: Format) -> None:
    n_in = 300  # 9 * 32 + 12, and 256 + 44
    data = random_bytes(format, 19, n_in)
    x = random(MANY_ROWS, n_in, seed=1)
    *fewer, whole = products(CpuOps(1), x, tensor_of(format, data, n_in))
    assert_close(whole, as_kernels_see(x, format), weights_of(format, data, n_in))
    assert same_bits(fewer[0], whole[:1])


@ALL
def test_sums_longer_than_a_chunk_keep_their_order(format: Format) -> None:
    n_in = 1280  # GEMM opens 512 inputs at a time
    data = random_bytes(format, 35, n_in)
    x = random(MANY_ROWS, n_in, seed=1)
    *fewer, whole = products(CpuOps(1), x, tensor_of(format, data, n_in))
    assert_close(whole, as_kernels_see(x, format), weights_of(format, data, n_in))
    for part in fewer:
        assert same_bits(part, whole[: len(part)])


@QUANTIZED
@pytest.mark.parametrize("codes", [0x00, 0x77, 0xFF])
def test_the_largest_sums_of_a_group_are_exact(format: Format, codes: int) -> None:
    n_in = 256
    data = random_bytes(format, 17, n_in).reshape(17, -1, format.block_bytes)
    others = {byte for field in HALF_FIELDS.get(format.name, [0]) for byte in (field, field + 1)}
    others |= {2} if format in dtypes.AFFINE else set()  # the zero point: where that is the code, nothing is left
    data[..., [byte for byte in range(format.block_bytes) if byte not in others]] = codes
    data = data.reshape(17, -1)
    x = np.full((MANY_ROWS, n_in), 127 / 128, np.float32)  # codes of 127, whatever the bits of their scale
    x[::2] *= -1
    *fewer, whole = products(CpuOps(1), x, tensor_of(format, data, n_in))
    assert_close(whole, as_kernels_see(x, format), weights_of(format, data, n_in))
    for part in fewer:
        assert same_bits(part, whole[: len(part)])


@pytest.mark.parametrize("format", [dtypes.Q4_0, dtypes.Q6_K, dtypes.Q8_0], ids=str)
def test_rows_beyond_those_that_meet_a_tile_at_once(format: Format) -> None:
    n_in = 768  # a chunk of 512 inputs and half of one
    tensor = tensor_of(format, random_bytes(format, 35, n_in), n_in)
    x = random(601, n_in, seed=1)  # GEMM takes 576 at once
    first, last = products(CpuOps(1), x[:MANY_ROWS], tensor)[-1], products(CpuOps(1), x[-MANY_ROWS:], tensor)[-1]
    whole = products(CpuOps(2), x, tensor)[-1]
    assert same_bits(whole[:MANY_ROWS], first)
    assert same_bits(whole[-MANY_ROWS:], last)


@ALL
def test_threads_do_not_change_bits(format: Format) -> None:
    n_in = 2 * max(format.block_size, 33)
    tensor = tensor_of(format, random_bytes(format, 150, n_in), n_in)
    x = random(MANY_ROWS, n_in, seed=1)
    for one, three in zip(products(CpuOps(1), x, tensor), products(CpuOps(3), x, tensor), strict=True):
        assert same_bits(one, three)


@ALL
@pytest.mark.parametrize("n_in", [256, 300, 768])
def test_lookups_give_the_weights_themselves(format: Format, n_in: int) -> None:
    data = random_bytes(format, 37, n_in)
    ops = CpuOps(2)
    table = ops.matrix(tensor_of(format, data, n_in))
    ids = [36, 0, 15, 16, 17, 36, 31]
    found = ops.program(lambda rows: ops.embed(table, rows.tokens))(rows_of(len(ids), tokens=ids))
    assert np.array_equal(found, weights_of(format, data, n_in)[ids])


@QUANTIZED
def test_quantized_activations_cost_about_half_a_percent(format: Format) -> None:
    n_in = 1024
    data = random_bytes(format, 64, n_in)
    x, weights = random(MANY_ROWS, n_in, seed=1), weights_of(format, data, n_in)
    exact = x @ weights.T
    found = products(CpuOps(1), x, tensor_of(format, data, n_in))[-1]
    assert np.linalg.norm(found - exact) < 0.01 * np.linalg.norm(exact)


@ALL
def test_packed_bytes_are_those_of_whole_stored_tiles(format: Format) -> None:
    n_in = 2 * format.block_size
    for n_out, n_rows in ((1, 16), (16, 16), (17, 32)):
        matrix = CpuOps(1).matrix(tensor_of(format, random_bytes(format, n_out, n_in), n_in))
        assert matrix.n_bytes == n_rows * format.row_bytes(n_in)


@QUANTIZED
def test_a_scale_that_is_not_finite_is_refused_with_its_row(format: Format) -> None:
    data = random_bytes(format, 40, 512)
    blocks = data.reshape(40, -1, format.block_bytes)
    if format is dtypes.MXFP4:
        blocks[23, -1, 0] = 0xFF
    else:
        field = HALF_FIELDS[format.name][-1]
        blocks[23, -1, field : field + 2] = np.array([np.nan], np.float16).view(np.uint8)
    with pytest.raises(NearlightError, match=r"row 23: expected finite scales"):
        CpuOps(2).matrix(tensor_of(format, data, 512))


@ALL
def test_what_is_not_a_number_stays_so_in_its_own_row(format: Format) -> None:
    n_in = 256
    tensor = tensor_of(format, random_bytes(format, 18, n_in), n_in)
    x = random(MANY_ROWS, n_in, seed=1)
    sound = products(CpuOps(1), x, tensor)[-1]
    x[7, 100] = np.nan
    *_, thirteen, _, whole = products(CpuOps(1), x, tensor)
    assert np.isnan(whole[7]).all()
    assert np.isnan(thirteen[7]).all()
    assert same_bits(np.delete(whole, 7, axis=0), np.delete(sound, 7, axis=0))
