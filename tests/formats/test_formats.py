"""Every format against the gguf package, bit for bit, and the quantizers against it or against an error bound."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from nearlight import dtypes, formats
from nearlight.dtypes import ALL, GGML, Format
from nearlight.errors import PackageError, ShapeError, UnsupportedError
from nearlight.formats import CODECS

QUANTIZABLE = [format for format in ALL if formats.can_quantize(format)]


def random_rows(format: Format, n_rows: int, n_blocks: int, seed: int = 0) -> np.ndarray:
    """Random codes under sane f16 scales (random bytes would make many of them NaN)."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (n_rows * n_blocks, format.block_bytes), dtype=np.uint8)
    for offset in CODECS[format].scales_at:
        blocks[:, offset : offset + 2] = rng.normal(0, 0.1, (len(blocks), 1)).astype("<f2").view(np.uint8)
    return blocks.reshape(n_rows, -1)


def bits(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).view(np.uint32)


def same_values(actual: np.ndarray, expected: np.ndarray) -> None:
    """Bitwise equal, except that any NaN equals any NaN."""
    both_nan = np.isnan(actual) & np.isnan(expected)
    np.testing.assert_array_equal(np.where(both_nan, 0, bits(actual)), np.where(both_nan, 0, bits(expected)))


def test_every_format_of_the_table_can_be_read() -> None:
    assert set(CODECS) == set(ALL)


@pytest.mark.parametrize("format", GGML, ids=str)
def test_block_sizes_equal_the_gguf_package(format: Format) -> None:
    ggml_type = gguf.GGMLQuantizationType[format.name]
    assert gguf.GGML_QUANT_SIZES[ggml_type] == (format.block_size, format.block_bytes)


@pytest.mark.parametrize("format", GGML, ids=str)
def test_dequantize_is_bit_exact(format: Format) -> None:
    data = random_rows(format, n_rows=7, n_blocks=3)
    if format.block_size == 1:
        data = random_rows(format, n_rows=7, n_blocks=101)
    row_length = data.shape[1] // format.block_bytes * format.block_size
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[format.name])
        actual = formats.dequantize(format, data, row_length)
    assert actual.dtype == np.float32
    same_values(actual, expected.view(np.float32).reshape(actual.shape))


@pytest.mark.parametrize("format", ALL, ids=str)
def test_the_last_block_may_be_partly_filled(format: Format) -> None:
    data = random_rows(format, n_rows=3, n_blocks=2)
    whole = formats.dequantize(format, data, 2 * format.block_size)
    cut = 2 * format.block_size - (5 if format.block_size > 5 else 0)
    same_values(formats.dequantize(format, data, cut), whole[:, :cut])


@pytest.mark.parametrize("format", ALL, ids=str)
def test_chunks_do_not_change_the_result(format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_rows(format, n_rows=11, n_blocks=2)
    row_length = 2 * format.block_size
    whole = formats.dequantize(format, data, row_length)
    monkeypatch.setattr(formats, "_CHUNK_VALUES", 3 * row_length)
    same_values(formats.dequantize(format, data, row_length), whole)
    if formats.can_quantize(format):
        finite = np.nan_to_num(whole, nan=0.5, posinf=2, neginf=-2)
        in_chunks = formats.quantize(format, finite)
        monkeypatch.undo()
        np.testing.assert_array_equal(in_chunks, formats.quantize(format, finite))


@pytest.mark.parametrize("format", [dtypes.F32, dtypes.F16, dtypes.BF16, dtypes.Q8_0, dtypes.Q4_0], ids=str)
def test_quantize_is_bit_exact_where_gguf_quantizes(format: Format) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, (5, 32 * 7)).astype(np.float32) * np.exp(rng.normal(0, 3, (5, 1))).astype(np.float32)
    values[2, 32:64] = 0
    values[3, ::2] = np.round(values[3, ::2])  # some ties
    expected = gguf.quants.quantize(values, gguf.GGMLQuantizationType[format.name]).view(np.uint8)
    np.testing.assert_array_equal(formats.quantize(format, values), expected.reshape(5, -1))


@pytest.mark.parametrize(
    ("format", "bound"), [(dtypes.F16, 3e-4), (dtypes.BF16, 2.5e-3), (dtypes.Q8_0, 0.006), (dtypes.Q6_K, 0.02),
                          (dtypes.Q4_0, 0.09)], ids=str
)  # fmt: skip
def test_the_error_of_a_round_trip_is_small(format: Format, bound: float) -> None:
    values = np.random.default_rng(2).normal(0, 0.02, (13, 515)).astype(np.float32)
    restored = formats.dequantize(format, formats.quantize(format, values), 515)
    relative = np.sqrt(((restored - values) ** 2).mean() / (values**2).mean())
    assert 0 < relative < bound


def test_q6_k_stays_within_a_step_in_every_sub_block() -> None:
    rng = np.random.default_rng(3)
    spread = np.exp(rng.normal(0, 0.5, (4, 32, 1)))
    values = (rng.normal(0, 1, (4, 32, 16)) * spread).astype(np.float32).reshape(4, 512)
    restored = formats.dequantize(dtypes.Q6_K, formats.quantize(dtypes.Q6_K, values), 512)
    step = np.abs(values).reshape(4, 2, 16, 16).max(axis=3, keepdims=True) / 32
    scale_rounding = step.max(axis=2, keepdims=True) / 8  # 32 codes times half a step of the super-block's scale
    assert (np.abs(restored - values).reshape(4, 2, 16, 16) <= 1.1 * step + scale_rounding).all()


@pytest.mark.parametrize("format", QUANTIZABLE, ids=str)
def test_zeros_stay_zeros_and_padding_is_invisible(format: Format) -> None:
    values = np.zeros((2, 37), np.float32)
    data = formats.quantize(format, values)
    assert data.shape == (2, format.row_bytes(37))
    np.testing.assert_array_equal(formats.dequantize(format, data, 37), values)


@pytest.mark.parametrize("format", [dtypes.Q8_0, dtypes.Q4_0, dtypes.Q6_K], ids=str)
def test_quantizing_again_changes_little(format: Format) -> None:
    values = np.random.default_rng(4).normal(0, 1, (3, 256)).astype(np.float32)
    once = formats.dequantize(format, formats.quantize(format, values), 256)
    twice = formats.dequantize(format, formats.quantize(format, once), 256)
    assert np.abs(twice - once).max() <= 0.01 * np.abs(once).max()


@pytest.mark.parametrize("format", [dtypes.Q8_0, dtypes.Q4_0, dtypes.Q6_K], ids=str)
def test_nan_is_refused_by_block_quantizers(format: Format) -> None:
    values = np.ones((5, 64), np.float32)
    values[3, 7] = np.nan
    with pytest.raises(PackageError, match="row 3 holds NaN"):
        formats.quantize(format, values)


def test_bf16_keeps_nan_and_infinity() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 3.4e38]], np.float32)
    restored = formats.dequantize(dtypes.BF16, formats.quantize(dtypes.BF16, values), 4)
    assert np.isnan(restored[0, 0])
    np.testing.assert_array_equal(restored[0, 1:], [np.inf, -np.inf, np.inf])


@pytest.mark.parametrize("format", ALL, ids=str)
def test_the_first_row_with_a_bad_scale_is_found(format: Format) -> None:
    sane = np.zeros((6, 3 * format.block_bytes), np.uint8)
    assert formats.first_non_finite_row(format, sane, 3 * format.block_size) is None
    bad = sane.copy()
    bad[4] = 0xFF  # every float made of ones is a NaN; an MXFP4 exponent of 255 overflows
    assert formats.first_non_finite_row(format, bad, 3 * format.block_size) == 4


def test_mistakes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"expected \[rows, 34\], found \[2, 33\]"):
        formats.dequantize(dtypes.Q8_0, np.zeros((2, 33), np.uint8), 32)
    with pytest.raises(ShapeError, match=r"expected \[rows, K\]"):
        formats.quantize(dtypes.Q8_0, np.zeros(32, np.float32))
    with pytest.raises(UnsupportedError, match="Q2_K"):
        formats.quantize(dtypes.Q2_K, np.zeros((1, 256), np.float32))
    with pytest.raises(UnsupportedError, match="F8_E4M3"):
        formats.dequantize(Format("F8_E4M3", 1, 1), np.zeros((1, 4), np.uint8), 4)
