"""What sampling asks of a whole vocabulary's scores, in native code; `native/src/vector/scores.cpp` says how.

numpy can do all of it, in ten times the time: it has no vectorised exp of float32 that is the same on every processor,
and finds a few large numbers among many only by several passes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nearlight import _native
from nearlight.kernels.ops import Float32

SCORE_BLOCK: int = _native.score_block
"""Scores whose maximum is noted: enough of them that the maxima are few, few enough that one is soon searched."""

_FACTORS = (1e-30, 1e30)  # with them no score becomes NaN; a sharper or flatter distribution cannot be told from theirs


def block_maxima(scores: Float32) -> Float32:
    """Return the largest of each SCORE_BLOCK scores, NaN where one of them is. Shapes: [V] -> [ceil(V / block)]."""
    maxima = np.empty(-(-len(scores) // SCORE_BLOCK), np.float32)
    _native.block_maxima(scores, maxima)
    return maxima


def scores_reaching(scores: Float32, maxima: Float32, floor: float) -> NDArray[np.int32]:
    """Return the ids of the scores that are at least `floor`, in ascending order; blocks below it are not read."""
    n_blocks = np.count_nonzero(maxima >= np.float32(floor))
    ids = np.empty(n_blocks * SCORE_BLOCK, np.int32)
    return ids[: _native.scores_reaching(scores, maxima, floor, ids)]


def sum_of_exponentials(scores: Float32, highest: float, temperature: float) -> float:
    """Return the sum of exp((score - highest) / temperature), within some 1e-7 of it and the same everywhere."""
    factor = math.log2(math.e) / temperature if temperature > _FACTORS[0] else math.inf
    return _native.sum_of_powers(scores, highest, min(max(factor, _FACTORS[0]), _FACTORS[1]))
