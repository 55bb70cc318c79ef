"""Stored formats to float32 and back: bit layouts and nothing else, no files.

This defines what the bits mean. The kernels compute from the bits directly and are tested against this. Work goes
through chunks of about a million values, so that a matrix of any size needs little memory beside its result.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nearlight import dtypes
from nearlight.dtypes import Format
from nearlight.errors import PackageError, ShapeError, UnsupportedError
from nearlight.formats import codebooks, floats, kquants, legacy
from nearlight.formats.affine import affine
from nearlight.formats.codec import Codec, half

__all__ = ["can_quantize", "dequantize", "first_non_finite_row", "quantize", "row_slices"]

CODECS: dict[Format, Codec] = {
    dtypes.F32: floats.F32,
    dtypes.F16: floats.F16,
    dtypes.BF16: floats.BF16,
    dtypes.Q8_0: legacy.Q8_0,
    dtypes.Q4_0: legacy.Q4_0,
    dtypes.Q4_1: legacy.Q4_1,
    dtypes.Q5_0: legacy.Q5_0,
    dtypes.Q5_1: legacy.Q5_1,
    dtypes.Q2_K: kquants.Q2_K,
    dtypes.Q3_K: kquants.Q3_K,
    dtypes.Q4_K: kquants.Q4_K,
    dtypes.Q5_K: kquants.Q5_K,
    dtypes.Q6_K: kquants.Q6_K,
    dtypes.IQ4_NL: codebooks.IQ4_NL,
    dtypes.IQ4_XS: codebooks.IQ4_XS,
    dtypes.MXFP4: codebooks.MXFP4,
    **dict.fromkeys((dtypes.W4G32, dtypes.W4G64, dtypes.W4G128), affine(4)),
    **dict.fromkeys((dtypes.W8G32, dtypes.W8G64, dtypes.W8G128), affine(8)),
}

_CHUNK_VALUES = 1 << 20


def can_quantize(format: Format) -> bool:
    """Say whether `quantize` knows this format."""
    return format in CODECS and CODECS[format].encode is not None


def dequantize(format: Format, data: NDArray[np.uint8], row_length: int) -> NDArray[np.float32]:
    """Turn rows of stored bytes into float32.

    Shapes: data uint8 [rows, row_bytes] -> float32 [rows, row_length]. What pads the last block is cut off.
    Raises: UnsupportedError for a format without a layout here; ShapeError when the bytes do not fit the row length.
    """
    decode = _codec(format).decode
    _check_rows(format, data, row_length)
    values = np.empty((len(data), row_length), np.float32)
    for rows in row_slices(len(data), row_length, _CHUNK_VALUES):
        with np.errstate(over="ignore", invalid="ignore"):  # bad scales give NaN and infinity, as they should
            decoded = decode(_blocks(format, data[rows]))
        values[rows] = decoded.reshape(rows.stop - rows.start, -1)[:, :row_length]
    return values


def quantize(format: Format, values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn float32 rows into stored bytes, filling the last block of a row with zeros.

    Shapes: float32 [rows, K] -> uint8 [rows, row_bytes].
    Raises: UnsupportedError for a format that can only be read; ShapeError unless there are two axes; PackageError
    for NaN or infinity in a block, which would spoil its neighbours silently.
    """
    encode = _codec(format).encode
    if encode is None:
        known = ", ".join(str(format) for format in CODECS if can_quantize(format))
        raise UnsupportedError(f"nothing here quantizes to {format}", expected=f"one of {known}")
    if values.ndim != 2:
        raise ShapeError(f"values to quantize to {format}", expected="[rows, K]", found=list(values.shape))
    row_length = values.shape[1]
    data = np.empty((len(values), format.row_bytes(row_length)), np.uint8)
    padding = -row_length % format.block_size
    for rows in row_slices(len(values), row_length, _CHUNK_VALUES):
        chunk = np.pad(values[rows].astype(np.float32, copy=False), ((0, 0), (0, padding)))
        if format.block_size > 1 and not np.isfinite(chunk).all():
            row = rows.start + int(np.flatnonzero(~np.isfinite(chunk).all(axis=1))[0])
            raise PackageError(f"row {row} holds NaN or infinity and cannot be quantized to {format}")
        data[rows] = encode(chunk.reshape(-1, format.block_size)).reshape(rows.stop - rows.start, -1)
    return data


def first_non_finite_row(format: Format, data: NDArray[np.uint8], row_length: int) -> int | None:
    """Find the first row with a NaN or infinity, looking only at the scales where a format has them.

    Shapes: data uint8 [rows, row_bytes].
    Raises: as `dequantize`.
    """
    codec = _codec(format)
    _check_rows(format, data, row_length)
    for rows in row_slices(len(data), row_length, _CHUNK_VALUES):
        blocks = _blocks(format, data[rows])
        if codec.scales_at:
            finite = np.all([np.isfinite(half(blocks, offset)) for offset in codec.scales_at], axis=0)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                finite = np.isfinite(codec.decode(blocks))
        bad_rows = np.flatnonzero(~finite.reshape(rows.stop - rows.start, -1).all(axis=1))
        if bad_rows.size:
            first: int = rows.start + int(bad_rows[0])
            return first
    return None


def _codec(format: Format) -> Codec:
    if format not in CODECS:
        known = ", ".join(str(format) for format in CODECS)
        raise UnsupportedError(f"tensor type {format} cannot be computed with", expected=f"one of {known}")
    return CODECS[format]


def _check_rows(format: Format, data: NDArray[np.uint8], row_length: int) -> None:
    if data.ndim != 2 or data.shape[1] != format.row_bytes(row_length):
        expected = f"[rows, {format.row_bytes(row_length)}]"
        raise ShapeError(f"bytes of {format} rows of {row_length} values", expected=expected, found=list(data.shape))


def _blocks(format: Format, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shapes: uint8 [rows, row_bytes] -> [rows · blocks, block_bytes]."""
    return np.ascontiguousarray(data).reshape(-1, format.block_bytes)


def row_slices(n_rows: int, row_length: int, n_values: int) -> Iterator[slice[int, int, None]]:
    """Cut rows into slices of about n_values values, at least a row each."""
    if row_length == 0:
        return
    step = max(1, n_values // row_length)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))
