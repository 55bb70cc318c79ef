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
    penalize_repetition(scores, np.unique(prompt_and_answer), penalty)
    np.testing.assert_array_equal(scores, expected[0].numpy())


def test_presence_and_frequency_follow_the_openai_definition() -> None:
    scores = random_scores()
    answer = [3, 5, 5, 36, 0, 3, 3]
    ids, counts = np.unique(answer, return_counts=True)
    expected = [
        score - answer.count(token) * 0.25 - float(answer.count(token) > 0) * 0.5 for token, score in enumerate(scores)
    ]
    penalize_presence_and_frequency(scores, ids, counts.astype(np.int32), 0.5, 0.25)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_bias_is_added_and_minus_infinity_excludes() -> None:
    scores = random_scores()
    add_bias(scores, np.array([7, 2]), np.array([1.5, -np.inf], dtype=np.float32))
    expected = random_scores()
    expected[7] += 1.5
    expected[2] = -np.inf
    np.testing.assert_array_equal(scores, expected)


def test_no_tokens_seen_changes_nothing() -> None:
    scores = random_scores()
    none = np.array([], dtype=np.intp)
    penalize_repetition(scores, none, 1.5)
    penalize_presence_and_frequency(scores, none, none.astype(np.int32), 1.0, 1.0)
    add_bias(scores, none, np.array([], dtype=np.float32))
    np.testing.assert_array_equal(scores, random_scores())
