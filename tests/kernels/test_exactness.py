"""How much products lose by rounding activations, against the rounding that others do: int8, with a float for a scale.

Others round 32 inputs with one scale, and 256 for weights in blocks of 256. No format may cost more than 1.05 of that,
whatever the activations are like.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nearlight import dtypes
from nearlight.dtypes import Format
from nearlight.kernels.cpu import CpuOps
from tests.kernels.cpu_steps import Floats, compute
from tests.kernels.test_cpu_matmul import random_bytes, tensor_of, weights_of

ROWS, N_OUT, N_IN = 1500, 65, 1536


def normal(random: np.random.Generator) -> Floats:
    return random.normal(size=(ROWS, N_IN))


def gated(random: np.random.Generator) -> Floats:
    """As a gate makes them: most are small."""
    return normal(random) * normal(random)


def heavy_tailed(random: np.random.Generator) -> Floats:
    return random.standard_t(4, size=(ROWS, N_IN))


def with_outliers(random: np.random.Generator) -> Floats:
    """A few channels are thirty times larger than the others."""
    x = normal(random)
    x[:, random.choice(N_IN, N_IN // 100, replace=False)] *= 30
    return x


def rounded(x: NDArray[np.float64], group: int) -> NDArray[np.float64]:
    groups = x.reshape(len(x), -1, group)
    scales = np.abs(groups).max(axis=2, keepdims=True) / 127
    return (np.rint(groups / scales) * scales).reshape(x.shape)


@pytest.mark.parametrize("activations", [normal, gated, heavy_tailed, with_outliers], ids=lambda f: f.__name__)
@pytest.mark.parametrize("format", dtypes.ALL[3:], ids=str)
def test_products_lose_no_more_than_others_lose(format: Format, activations: object) -> None:
    assert callable(activations)
    x = activations(np.random.default_rng(5)).astype(np.float32)
    data = random_bytes(format, N_OUT, N_IN)
    weights = weights_of(format, data, N_IN).astype(np.float64)
    wanted = x @ weights.T
    ops = CpuOps(2)
    matrix = ops.matrix(tensor_of(format, data, N_IN))
    found = compute(ops, lambda rows, _: ops.linear(rows, matrix), x)
    theirs = rounded(x.astype(np.float64), 256 if format.block_size == 256 else 32) @ weights.T
    assert rms(found - wanted) <= 1.05 * rms(theirs - wanted)


def rms(x: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(x * x)))
