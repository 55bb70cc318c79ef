"""The ranking, which looks at few tokens, against a full sort of them all."""

from __future__ import annotations

import numpy as np
import pytest

from nearlight.decode.ranking import Ranking

BLOCK = 256  # as in native/src/vector/kernels.h
SIZES = [1, 7, 16, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17, 40_003]


def random_scores(size: int, *, ties: bool = False) -> np.ndarray:
    scores = np.random.default_rng(size).normal(0, 3, size).astype(np.float32)
    return np.round(scores).astype(np.float32) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_tops_are_those_of_a_full_sort(size: int, ties: bool) -> None:
    scores = random_scores(size, ties=ties)
    order = np.argsort(-scores, kind="stable")
    ranking = Ranking(scores)
    assert len(ranking) == size
    assert ranking.highest == scores.max()
    assert ranking.best() == order[0]
    for n in (1, 2, 20, 64, size // 2, size - 1, size, size + 5, 2**64):
        if n < 1:
            continue
        top = ranking.top(n)
        assert top.ids.tolist() == order[: len(top.ids)].tolist()
        assert top.scores.tolist() == scores[top.ids].tolist()
        assert len(top.ids) >= min(n, size)
        assert len(top.ids) == np.count_nonzero(scores >= top.scores[-1])
    assert top.first(3).ids.tolist() == order[:3].tolist()
    assert top.first(3).scores.tolist() == scores[order[:3]].tolist()


def test_the_top_of_a_large_vocabulary_is_few_tokens() -> None:
    top = Ranking(random_scores(151_936)).top(20)
    assert 20 <= len(top.ids) <= 25


@pytest.mark.parametrize("size", SIZES)
def test_all_tokens_that_reach_a_floor_and_no_others(size: int) -> None:
    scores = random_scores(size, ties=True)
    order = np.argsort(-scores, kind="stable")
    for floor in (-np.inf, -3.0, -2.5, 0.0, float(scores.max()), float(scores.max()) + 1):
        assert Ranking(scores).reaching(floor).ids.tolist() == [id for id in order if scores[id] >= floor]


@pytest.mark.parametrize("place", [0, 15, 16, BLOCK + 3, 2 * BLOCK + 20])
@pytest.mark.parametrize("nan", [np.nan, -np.nan])
def test_one_nan_is_enough_to_be_seen(place: int, nan: float) -> None:
    scores = random_scores(2 * BLOCK + 21)
    scores[place] = nan
    assert np.isnan(Ranking(scores).highest)


def test_impossible_tokens_come_last() -> None:
    scores = random_scores(3 * BLOCK)
    scores[::2] = -np.inf
    top = Ranking(scores).top(2 * BLOCK)
    assert np.isfinite(top.scores[: 3 * BLOCK // 2]).all()
    assert len(top.ids) == 3 * BLOCK


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("temperature", [1e-300, 0.05, 0.7, 1.0, 3.0, 1e300])
def test_the_total_is_that_of_a_softmax(size: int, temperature: float) -> None:
    scores = random_scores(size)
    scores[2:5] = -np.inf
    with np.errstate(over="ignore"):
        expected = np.exp((scores.astype(np.float64) - float(scores.max())) / temperature).sum()
    assert Ranking(scores).total(temperature) == pytest.approx(expected, rel=5e-7)


def test_every_exponential_is_near() -> None:
    for score in np.linspace(-87, 0, 4001).astype(np.float32):
        both = np.array([0, score], np.float32)
        found = Ranking(both).total(1.0) - 1
        assert found == pytest.approx(np.exp(float(score)), rel=2e-7 + 1.2e-7 * abs(float(score)), abs=3e-16)
    assert Ranking(np.array([0, -88, -1e30, -np.inf], np.float32)).total(1.0) == 1


def test_nothing_to_rank_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Ranking(np.empty(0, np.float32))
    with pytest.raises(ValueError, match="at least 1"):
        Ranking(random_scores(3)).top(0)


def test_the_scores_outlive_their_name() -> None:
    ranking = Ranking(random_scores(40_003))
    others = [np.zeros(40_003, np.float32) for _ in range(5)]
    assert ranking.top(3).ids.tolist() == np.argsort(-random_scores(40_003))[:3].tolist()
    assert len(others) == 5


def test_a_seed_draws_the_same_tokens_on_every_processor() -> None:
    """These bits are those of every instruction level; `make levels` asks each."""
    scores = (np.random.RandomState(0).randint(-(2**20), 2**20, 20_011) / 2**16).astype(np.float32)
    found = [Ranking(scores).total(temperature).hex() for temperature in (0.01, 0.6, 1.0, 7.0)]
    assert found == [
        "0x1.94fc2f5f7a621p+2",
        "0x1.8ba1e1106e000p+8",
        "0x1.45eff71360000p+9",
        "0x1.0ffb83e000000p+12",
    ]
