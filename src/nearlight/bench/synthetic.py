"""Models of any published shape with random weights, made in memory in the format they are computed in.

A speed does not depend on what the weights are, only on their number and format, so a person can learn how fast a
model would be here before downloading it. Random bits alone would do for the multipliers; but a random scale may be
infinite, and then so is everything after it. Hence blocks are drawn at random and kept if their values are of a usual
size. That needs no knowledge of any format's layout, works for all of them, and no float copy of a matrix ever exists.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from nearlight import dtypes
from nearlight.dtypes import F32, Format
from nearlight.errors import RequestError
from nearlight.formats import dequantize
from nearlight.kernels.ops import Ops
from nearlight.layers.parameters import Parameter
from nearlight.loading.binding import Progress
from nearlight.models import build_model
from nearlight.models.model import Model
from nearlight.models.weight_formats import REQUANTIZATIONS, FormatOf, Requantization
from nearlight.package.tensors import Bytes, StoredTensor

_TYPICAL = 0.02  # as weights are initialised: products with normalised activations stay near 1
_SPREAD = 4.0
_POOL_VALUES = 1 << 15
_DRAWN_BLOCKS = 1 << 14


def formats_named(weights: str) -> Requantization:
    """Return what `weights` names: a choice of `nearlight.load` ("w4"), or any stored format ("q4_k").

    Raises: RequestError naming the choices.
    """
    if weights in REQUANTIZATIONS:
        return REQUANTIZATIONS[weights]
    format = dtypes.BY_NAME.get(weights.upper())
    if format is None:
        known = ", ".join((*REQUANTIZATIONS, *(name.lower() for name in dtypes.BY_NAME)))
        raise RequestError("weights", expected=f"one of {known}", found=repr(weights))
    return Requantization(weights, format, format)


def synthetic_model(
    ops: Ops, config: dict[str, object], format_of: FormatOf, progress: Progress | None = None
) -> Model:
    """Build a model of a config and bind random weights to it, one matrix at a time.

    Raises: UnsupportedError for a family that is not written.
    """
    model = build_model(ops, config)
    tensors = [(parameter, random_tensor(parameter, format_of(parameter))) for parameter in model.parameters()]
    done, total = 0, sum(tensor.n_bytes for parameter, tensor in tensors if not parameter.is_table)
    for parameter, tensor in tensors:
        parameter.bind(ops, tensor)
        done += 0 if parameter.is_table else tensor.n_bytes
        if progress:
            progress(done, total)
    return model


def random_tensor(parameter: Parameter, format: Format) -> StoredTensor:
    """Describe random weights for a parameter; norms are ones and biases zeros.

    The bytes are made when they are read.
    """
    shape = parameter.stored_shape
    if parameter.is_table:  # as large as all else, and only single rows are read: they may be one
        row = random_rows(format, 1, shape[1])
        return StoredTensor(parameter.name, format, shape, lambda: np.broadcast_to(row, (shape[0], row.shape[1])))
    if not parameter.is_matrix:
        values = np.full((math.prod(shape[:-1]), shape[-1]), 1.0 if parameter.role == "norm" else 0.0, np.float32)
        return StoredTensor.from_bytes(parameter.name, F32, shape, values.view(np.uint8))
    return StoredTensor(parameter.name, format, shape, lambda: random_rows(format, shape[0], shape[1]))


def random_rows(format: Format, n_rows: int, row_length: int) -> Bytes:
    """Return rows of random weights in stored bits; the same ones every time.

    Shapes: uint8 [n_rows, row_bytes].
    """
    row_bytes = format.row_bytes(row_length)
    # The pool is odd in blocks and rows are mostly even, so rows start everywhere in it and hardly any two are equal.
    return np.resize(_pool(format), n_rows * row_bytes).reshape(n_rows, row_bytes)


@cache
def _pool(format: Format) -> NDArray[np.uint8]:
    """Draw blocks until enough are of a usual size. Shapes: uint8 [an odd number of blocks, block_bytes]."""
    random = np.random.default_rng(0)
    wanted = max(_POOL_VALUES // format.block_size, 64) | 1
    kept: list[NDArray[np.uint8]] = []
    while sum(map(len, kept)) < wanted:
        drawn = random.integers(0, 256, (_DRAWN_BLOCKS, format.block_bytes), np.uint8)
        values = dequantize(format, drawn, format.block_size)
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.sqrt(np.mean(values * values, axis=1))
        kept.append(drawn[(size > _TYPICAL / _SPREAD) & (size < _TYPICAL * _SPREAD)])
    return np.concatenate(kept)[:wanted]
