"""The passes over a vocabulary's scores: right, and with the same bits on every level of this processor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nearlight import _native
from nearlight.kernels.cpu.scores import SCORE_BLOCK, block_maxima, scores_reaching, sum_of_exponentials

SIZES = [1, 15, 16, 17, SCORE_BLOCK, SCORE_BLOCK + 1, 3 * SCORE_BLOCK + 35, 32_003]


def random_scores(size: int) -> np.ndarray:
    scores = np.random.default_rng(size).normal(0, 4, size).astype(np.float32)
    scores[size // 3 : size // 3 + 2] = -np.inf
    return scores


@pytest.mark.parametrize("size", SIZES)
def test_maxima(size: int) -> None:
    scores = random_scores(size)
    blocks = [scores[i : i + SCORE_BLOCK].max() for i in range(0, size, SCORE_BLOCK)]
    np.testing.assert_array_equal(block_maxima(scores), blocks)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("floor", [-np.inf, -1.0, 6.5, 100.0])
def test_scores_reaching(size: int, floor: float) -> None:
    scores = random_scores(size)
    found = scores_reaching(scores, block_maxima(scores), floor)
    np.testing.assert_array_equal(found, np.flatnonzero(scores >= floor))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_sum_of_exponentials(size: int, temperature: float) -> None:
    scores = random_scores(size)
    highest = float(max(scores.max(), -4))
    expected = np.exp((scores.astype(np.float64) - highest) / temperature).sum()
    assert sum_of_exponentials(scores, highest, temperature) == pytest.approx(expected, rel=5e-7, abs=1e-37)


def test_every_exponential_is_near() -> None:
    for score in np.linspace(-87, 0, 4001).astype(np.float32):
        found = sum_of_exponentials(np.array([score]), 0.0, 1.0)
        assert found == pytest.approx(np.exp(float(score)), rel=2e-7 + 1.2e-7 * abs(float(score)))
    assert sum_of_exponentials(np.array([-88, -1e30, -np.inf], np.float32), 0.0, 1.0) == 0


BITS = """
import numpy as np
from nearlight.kernels.cpu.scores import block_maxima, scores_reaching, sum_of_exponentials
scores = np.random.default_rng(0).normal(0, 4, 20011).astype(np.float32)
maxima = block_maxima(scores)
print(maxima.tobytes().hex(), scores_reaching(scores, maxima, 9.0).tolist())
print([sum_of_exponentials(scores, float(scores.max()), t).hex() for t in (0.01, 0.6, 1.0, 7.0)])
"""


def test_all_levels_give_the_same_bits() -> None:
    """A seed draws the same tokens on every processor."""
    root = Path(__file__).parents[2]
    outputs = set()
    for level in _native.isas():
        env = {**os.environ, "NEARLIGHT_ISA": level}
        done = subprocess.run([sys.executable, "-c", BITS], env=env, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    assert len(outputs) == 1


def test_sizes_that_do_not_fit_are_refused() -> None:
    scores = random_scores(2 * SCORE_BLOCK)
    with pytest.raises(ValueError, match="maxima"):
        _native.block_maxima(scores, np.empty(3, np.float32))
    with pytest.raises(ValueError, match="maxima"):
        _native.scores_reaching(scores, np.empty(1, np.float32), 0.0, np.empty(600, np.int32))
    with pytest.raises(ValueError, match="ids"):
        _native.scores_reaching(scores, block_maxima(scores), 0.0, np.empty(2 * SCORE_BLOCK - 1, np.int32))
