"""Each filter against a plain definition over the fully sorted vocabulary, and against transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from nearlight.decode import filters
from nearlight.decode.policy import SamplingPolicy
from nearlight.decode.ranking import Ranking
from nearlight.decode.sampler import kept

SIZES = [1, 2, 7, 63, 257, 2051, 20_011]

# Few distinct values, so that ties are everywhere; -inf as left by suppressed tokens; the first is always finite.
tied_scores = st.tuples(
    st.floats(-30, 30, width=32),
    arrays(np.float32, st.integers(0, 700), elements=st.sampled_from([-np.inf, -9.5, -1.25, 0.0, 0.5, 3.0, 3.25])),
).map(lambda parts: np.concatenate([np.array(parts[:1], dtype=np.float32), parts[1]]))


def random_scores(size: int, seed: int = 0, *, ties: bool = False) -> np.ndarray:
    scores = np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)
    return np.round(scores).astype(np.float32) if ties else scores


def ranked_plainly(scores: np.ndarray) -> list[int]:
    return sorted(range(len(scores)), key=lambda token: (-scores[token], token))


def softmax(scores: np.ndarray) -> np.ndarray:
    exponents = np.exp(scores.astype(np.float64) - float(scores.max()))
    return exponents / exponents.sum()


def kept_by_transformers(warper: object, scores: np.ndarray) -> list[float]:
    """Return the scores that a warper leaves, best first: among ties at a nucleus' edge any may be the one."""
    warped = warper(torch.zeros((1, 1), dtype=torch.long), torch.from_numpy(scores.copy())[None])[0].numpy()  # type: ignore[operator]
    return sorted(warped[warped > -np.inf].tolist(), reverse=True)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_top_k_ranks_as_a_full_sort_does_and_keeps_ties(size: int, ties: bool) -> None:
    scores = random_scores(size, ties=ties)
    order = ranked_plainly(scores)
    for k in (1, 2, 5, 50, 1000, size - 1, size, size + 3):
        if k < 1:
            continue
        lowest = scores[order[min(k, size) - 1]]
        assert filters.top_k(Ranking(scores), k).ids.tolist() == [token for token in order if scores[token] >= lowest]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("k", [1, 3, 40])
def test_top_k_equals_transformers(size: int, k: int, ties: bool) -> None:
    scores = random_scores(size, seed=k, ties=ties)
    assert filters.top_k(Ranking(scores), k).scores.tolist() == kept_by_transformers(TopKLogitsWarper(k), scores)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.83, 0.99])
def test_nucleus_equals_transformers(size: int, p: float, ties: bool) -> None:
    scores = random_scores(size, seed=3, ties=ties)
    ids = filters.nucleus(Ranking(scores), 1.0, p).ids
    assert ids.tolist() == ranked_plainly(scores)[: len(ids)]
    theirs = kept_by_transformers(TopPLogitsWarper(p), scores)
    # Their sums are in float32: after thousands of additions the edge may be some tokens off.
    assert abs(len(ids) - len(theirs)) <= (0 if size < 1000 else 0.005 * size)
    assert scores[ids[: len(theirs)]].tolist() == theirs[: len(ids)]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("p", [0.001, 0.05, 0.4, 1.0])
def test_min_p_equals_transformers(size: int, p: float, ties: bool) -> None:
    scores = random_scores(size, seed=5, ties=ties)
    ids, _ = kept(Ranking(scores), SamplingPolicy(min_p=p))
    assert scores[ids].tolist() == kept_by_transformers(MinPLogitsWarper(p), scores)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
def test_temperature_equals_transformers(temperature: float) -> None:
    scores = random_scores(331)
    warped = TemperatureLogitsWarper(temperature)(torch.zeros((1, 1)), torch.from_numpy(scores)[None])  # type: ignore[arg-type]
    relative = filters.relative_probabilities(np.sort(scores)[::-1], temperature)
    assert relative[0] == 1
    np.testing.assert_allclose(relative / relative.sum(), np.sort(warped.softmax(-1)[0])[::-1], rtol=1e-4, atol=1e-12)


def test_a_vanishing_temperature_leaves_only_the_best() -> None:
    scores = np.array([5, 5, 2, -np.inf], dtype=np.float32)
    for temperature in (1e-6, 1e-60, 5e-324):
        assert filters.relative_probabilities(scores, temperature).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p"),
    [(0.7, 20, 0.8, 0.0), (1.3, 50, 0.95, 0.02), (0.9, 0, 0.6, 0.1), (1.9, 0, 1.0, 0.01), (1.1, 5, 1.0, 0.3)],
)
def test_filters_together_equal_transformers_in_its_order(
    temperature: float, top_k: int, top_p: float, min_p: float, ties: bool
) -> None:
    scores = random_scores(557, seed=11, ties=ties)
    warped = torch.from_numpy(scores)[None]
    warpers = [TemperatureLogitsWarper(temperature)]
    warpers += [TopKLogitsWarper(top_k)] if top_k else []
    warpers += [TopPLogitsWarper(top_p)] if top_p < 1 else []
    warpers += [MinPLogitsWarper(min_p)] if min_p else []
    for warper in warpers:
        warped = warper(torch.zeros((1, 1), dtype=torch.long), warped)
    theirs = warped.softmax(-1)[0].numpy()
    ids, _ = kept(Ranking(scores), SamplingPolicy(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p))
    ours = softmax(scores[ids] / temperature)
    np.testing.assert_allclose(ours, np.sort(theirs[theirs > 0])[::-1], rtol=1e-4)


def test_a_boundless_temperature_makes_all_possible_tokens_equal() -> None:
    scores = np.array([2, 5, -30, -np.inf], dtype=np.float32)
    for temperature in (1e30, 1e308):
        assert filters.at_least_min_p(Ranking(scores), temperature, 0.01).ids.tolist() == [1, 0, 2]
        assert filters.nucleus(Ranking(scores), temperature, 0.9).ids.tolist() == [1, 0, 2]


def test_more_tokens_asked_for_than_are_possible() -> None:
    scores = np.array([2, -np.inf, 5, -np.inf, 3], dtype=np.float32)
    assert kept(Ranking(scores), SamplingPolicy(top_k=4))[0].tolist() == [2, 4, 0]


def test_with_nothing_to_filter_all_possible_tokens_are_kept() -> None:
    scores = random_scores(601)
    scores[[3, 500]] = -np.inf
    assert kept(Ranking(scores), SamplingPolicy())[0].tolist() == ranked_plainly(scores)[:-2]


@settings(max_examples=150, deadline=None)
@given(tied_scores, st.floats(0.05, 5), st.floats(0, 0.999))
def test_the_nucleus_is_the_smallest_prefix_that_reaches_p(scores: np.ndarray, temperature: float, p: float) -> None:
    ids = filters.nucleus(Ranking(scores), temperature, p).ids
    probabilities = softmax(scores.astype(np.float64) / temperature)
    assert ids.tolist() == ranked_plainly(scores)[: len(ids)]
    assert len(ids) >= 1
    # The total is summed in float32, and so known to some 1e-7.
    assert probabilities[ids].sum() >= p - 1e-6
    assert probabilities[ids[:-1]].sum() < p + 1e-6
    assert (scores[ids] > -np.inf).all()


@settings(max_examples=150, deadline=None)
@given(tied_scores, st.integers(1, 800))
def test_top_k_keeps_k_and_ties_only(scores: np.ndarray, k: int) -> None:
    ids = filters.top_k(Ranking(scores), k).ids
    assert ids.tolist() == ranked_plainly(scores)[: len(ids)]
    assert len(ids) >= min(k, len(scores))
    assert (scores[ids[k - 1 :]] == scores[ids[-1]]).all()
    assert not np.isin(np.flatnonzero(scores == scores[ids[-1]]), ids, invert=True).any()


@settings(max_examples=150, deadline=None)
@given(tied_scores, st.floats(0.05, 5), st.floats(0.001, 1))
def test_min_p_keeps_exactly_the_tokens_above_its_threshold(scores: np.ndarray, temperature: float, p: float) -> None:
    order = ranked_plainly(scores)
    relative = filters.relative_probabilities(scores[order], temperature)
    ids, _ = kept(Ranking(scores), SamplingPolicy(temperature=temperature, min_p=p))
    assert ids.tolist() == [token for token, share in zip(order, relative, strict=True) if share >= p]


@settings(max_examples=150, deadline=None)
@given(
    tied_scores,
    st.builds(
        SamplingPolicy,
        temperature=st.floats(0.01, 5),
        top_k=st.integers(0, 800),
        top_p=st.floats(0, 1),
        min_p=st.floats(0, 1),
    ),
)
def test_whatever_the_policy_some_possible_tokens_are_kept_and_they_are_the_best(
    scores: np.ndarray, policy: SamplingPolicy
) -> None:
    ids, ranked = kept(Ranking(scores), policy)
    assert ranked.tolist() == filters.relative_probabilities(scores[ids], policy.temperature).tolist()
    assert len(ids) >= 1
    assert ids.tolist() == ranked_plainly(scores)[: len(ids)]
    assert (scores[ids] > -np.inf).all()
