"""Penalties against their definitions, and against transformers where it has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from nearlight.decode.penalties import add_bias, penalize_presence_and_frequency, penalize_repetition

VOCAB = 37


def random_scores(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, VOCAB).astype(np.float32)


@pytest.mark.parametrize("penalty", [1.3, 0.7])
def test_repetition_equals_transformers(penalty: float) -> None:
    scores = random_scores()
    prompt_and_answer = [3, 5, 5, 36, 0, 3, 3]
    expected = RepetitionPenaltyLogitsProcessor(penalty)(
        torch.tensor([prompt_and_answer]), torch.from_numpy(scores.copy())[None]
    )
    actual = penalize_repetition(scores, np.unique(prompt_and_answer), penalty)
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, expected[0].numpy())


def test_presence_and_frequency_follow_the_openai_definition() -> None:
    scores = random_scores()
    answer = [3, 5, 5, 36, 0, 3, 3]
    ids, counts = np.unique(answer, return_counts=True)
    expected = [
        score - answer.count(token) * 0.25 - float(answer.count(token) > 0) * 0.5 for token, score in enumerate(scores)
    ]
    actual = penalize_presence_and_frequency(scores, ids, counts.astype(np.int32), 0.5, 0.25)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_bias_is_added_and_minus_infinity_excludes() -> None:
    scores = random_scores()
    actual = add_bias(scores, np.array([7, 2]), np.array([1.5, -np.inf], dtype=np.float32))
    expected = scores.copy()
    expected[7] += 1.5
    expected[2] = -np.inf
    np.testing.assert_array_equal(actual, expected)


def test_the_models_own_logits_stay_as_they_were() -> None:
    scores = random_scores()
    ids = np.array([1, 4])
    penalize_repetition(scores, ids, 1.5)
    penalize_presence_and_frequency(scores, ids, np.array([1, 2], dtype=np.int32), 1.0, 1.0)
    add_bias(scores, ids, np.array([1, 2], dtype=np.float32))
    np.testing.assert_array_equal(scores, random_scores())


def test_no_tokens_seen_changes_nothing() -> None:
    scores = random_scores()
    none = np.array([], dtype=np.intp)
    np.testing.assert_array_equal(penalize_repetition(scores, none, 1.5), scores)
    np.testing.assert_array_equal(
        penalize_presence_and_frequency(scores, none, none.astype(np.int32), 1.0, 1.0), scores
    )
