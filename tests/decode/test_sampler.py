"""The sampler: right frequencies, repeatable, counting only what it should, and refusing what it cannot use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nearlight.decode.policy import SamplingPolicy
from nearlight.decode.ranking import Ranking
from nearlight.decode.sampler import Sampler, draw
from nearlight.errors import NearlightError, RequestError, ShapeError

VOCAB = 61
SEED_42 = [21, 59, 39, 26, 18, 24, 49, 21, 41, 59, 36]


def random_logits(seed: int = 0, size: int = VOCAB) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, size).astype(np.float32)


def answer(sampler: Sampler, length: int = 23) -> list[int]:
    tokens = []
    for step in range(length):
        tokens.append(sampler.choose(random_logits(step, sampler.vocab_size)).token)
        sampler.accept(tokens[-1])
    return tokens


def plain_distribution(logits: np.ndarray, policy: SamplingPolicy) -> np.ndarray:
    """Filter one step after the other over the whole vocabulary, as the definitions say."""
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    scaled = logits[order].astype(np.float64) / policy.temperature
    probabilities = np.exp(scaled - scaled[0])
    if policy.top_k:
        probabilities[policy.top_k :] = 0
    probabilities /= probabilities.sum()
    before = np.concatenate([[0], np.cumsum(probabilities)[:-1]])
    if policy.top_p < 1:
        probabilities[(before >= policy.top_p) & (np.arange(len(logits)) > 0)] = 0
    probabilities[probabilities < policy.min_p * probabilities[0]] = 0
    result = np.zeros(len(logits))
    result[order] = probabilities / probabilities.sum()
    return result


@pytest.mark.parametrize(
    "policy",
    [
        SamplingPolicy(seed=1),
        SamplingPolicy(seed=2, temperature=0.6, top_k=20, top_p=0.9),
        SamplingPolicy(seed=3, temperature=1.5, top_p=0.7),
        SamplingPolicy(seed=4, temperature=1.2, min_p=0.05),
        SamplingPolicy(seed=5, top_k=11),
        SamplingPolicy(seed=6, top_k=30, top_p=0.95, min_p=0.02),
    ],
    ids=lambda policy: f"seed{policy.seed}",
)
def test_tokens_are_drawn_as_often_as_the_distribution_says(policy: SamplingPolicy) -> None:
    logits = random_logits(7)
    expected = plain_distribution(logits, policy)
    n = 6000
    sampler = Sampler(policy, VOCAB)
    drawn = np.bincount([sampler.choose(logits).token for _ in range(n)], minlength=VOCAB)
    assert drawn[expected == 0].sum() == 0
    # Chi-square needs about five expected in every cell: the rarest tokens share one.
    common = expected * n >= 5
    observed = np.append(drawn[common], drawn[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum()) * n
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    degrees = len(wanted) - 1
    chi_square = ((observed - wanted) ** 2 / wanted).sum()
    assert chi_square < degrees + 4 * math.sqrt(2 * degrees)


def test_the_draw_is_the_inverse_cdf_with_the_most_probable_first() -> None:
    scores = np.log(np.array([0.2, 0.3, 0.1, 0.3, 0.1], dtype=np.float32))  # in order: 1 3 0 2 4
    cases = [(0.0, 1), (0.29, 1), (0.31, 3), (0.59, 3), (0.61, 0), (0.81, 2), (0.91, 4), (1 - 2**-53, 4)]
    for policy in (SamplingPolicy(), SamplingPolicy(top_k=5), SamplingPolicy(min_p=0.01)):
        assert [draw(Ranking(scores), policy, uniform) for uniform, _ in cases] == [token for _, token in cases]


def test_a_deep_draw_equals_the_plain_inverse_cdf() -> None:
    scores = np.random.default_rng(0).normal(0, 0.5, 5003).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    cdf = np.cumsum(np.exp(scores[order].astype(np.float64)))
    for uniform in (0.001, 0.2, 0.7, 0.95, 0.9999):
        expected = order[np.searchsorted(cdf, uniform * cdf[-1])]
        assert draw(Ranking(scores), SamplingPolicy(), uniform) == expected


def test_the_seed_decides_the_tokens() -> None:
    first, again, other = (answer(Sampler(SamplingPolicy(seed=seed, top_k=40), VOCAB)) for seed in (5, 5, 6))
    assert first == again
    assert first != other
    unseeded = {tuple(answer(Sampler(SamplingPolicy(), VOCAB))) for _ in range(2)}
    assert len(unseeded) == 2


def test_seeded_tokens_are_the_same_everywhere() -> None:
    """These were drawn once; another platform or version must draw them too."""
    logits = (np.arange(VOCAB) * 37 % 23 / 4).astype(np.float32)
    sampler = Sampler(SamplingPolicy(seed=42, temperature=0.8, top_p=0.95), VOCAB)
    assert [sampler.choose(logits).token for _ in range(11)] == SEED_42


def test_one_number_of_the_documented_generator_is_used_for_each_token() -> None:
    uniforms = np.random.Generator(np.random.PCG64(9)).random(13)
    logits = random_logits()
    sampler = Sampler(SamplingPolicy(seed=9), VOCAB)
    assert [sampler.choose(logits).token for _ in uniforms] == [
        draw(Ranking(logits), sampler.policy, u) for u in uniforms
    ]


def test_greedy_takes_the_first_of_the_best() -> None:
    logits = random_logits()
    logits[[5, 17, 40]] = 9
    for policy in (SamplingPolicy(temperature=0), SamplingPolicy(top_k=1)):
        assert Sampler(policy, VOCAB).choose(logits).token == 5


def test_repetition_counts_prompt_and_answer_once_each() -> None:
    sampler = Sampler(SamplingPolicy(temperature=0, repetition_penalty=2.0), 5)
    logits = np.array([8, 7, 5, 3, -3], dtype=np.float32)
    sampler.accept_prompt([0, 0, 0])
    assert sampler.choose(logits).token == 1  # 0 fell to 4, not to 1
    sampler.accept(1)
    assert sampler.choose(logits).token == 2
    sampler.accept(2)
    assert sampler.choose(logits).token == 0


def test_presence_and_frequency_count_the_answer_only() -> None:
    logits = np.array([5, 4.5, 0], dtype=np.float32)
    frequency = Sampler(SamplingPolicy(temperature=0, frequency_penalty=0.3), 3)
    frequency.accept_prompt([0, 0, 0, 0])
    assert frequency.choose(logits).token == 0
    frequency.accept(0)
    assert frequency.choose(logits).token == 0  # 4.7
    frequency.accept(0)
    assert frequency.choose(logits).token == 1  # 4.4
    presence = Sampler(SamplingPolicy(temperature=0, presence_penalty=0.3), 3)
    for _ in range(7):
        presence.accept(0)
    assert presence.choose(logits).token == 0  # 4.7, however often


def test_bias_excludes_and_favours() -> None:
    logits = random_logits()
    best = int(logits.argmax())
    excluded = Sampler(SamplingPolicy(seed=0, logit_bias={best: -math.inf}), VOCAB)
    assert best not in {excluded.choose(logits).token for _ in range(200)}
    favoured = Sampler(SamplingPolicy(seed=0, logit_bias={13: 100.0}), VOCAB)
    assert {favoured.choose(logits).token for _ in range(20)} == {13}


def test_tokens_suppressed_at_the_beginning_may_come_later() -> None:
    logits = np.array([1, 9, 5], dtype=np.float32)
    sampler = Sampler(SamplingPolicy(temperature=0, begin_suppress_tokens=(1,)), 3)
    sampler.accept_prompt([0, 2])
    assert sampler.choose(logits).token == 2
    sampler.accept(2)
    assert sampler.choose(logits).token == 1


def test_a_logit_of_minus_infinity_is_never_drawn() -> None:
    logits = np.full(VOCAB, -np.inf, dtype=np.float32)
    logits[[3, 7]] = 0.5
    for settings in ({}, {"top_k": 50}, {"top_p": 0.99}, {"min_p": 0.001}):
        sampler = Sampler(SamplingPolicy(seed=0, **settings), VOCAB)  # type: ignore[arg-type]
        assert {sampler.choose(logits).token for _ in range(60)} == {3, 7}


def test_log_probabilities_are_those_of_the_unmodified_distribution() -> None:
    logits = random_logits()
    logits[50] = logits[10]
    expected = logits - np.log(np.exp(logits.astype(np.float64)).sum())
    policy = SamplingPolicy(
        seed=0, temperature=0.3, top_k=5, repetition_penalty=1.5, logit_bias={2: -3.0}, logprobs=VOCAB
    )
    sampler = Sampler(policy, VOCAB)
    sampler.accept_prompt([1, 2, 3])
    choice = sampler.choose(logits)
    assert choice.logprob == pytest.approx(expected[choice.token], abs=1e-6)
    assert [token for token, _ in choice.top] == np.argsort(-logits, kind="stable").tolist()
    np.testing.assert_allclose([logprob for _, logprob in choice.top], np.sort(expected)[::-1], atol=1e-6)
    assert sum(math.exp(logprob) for _, logprob in choice.top) == pytest.approx(1)


@pytest.mark.parametrize(("asked", "n_top"), [(0, 0), (3, 3), (VOCAB + 9, VOCAB - 1)])
def test_as_many_log_probabilities_as_asked_for_and_none_of_impossible_tokens(asked: int, n_top: int) -> None:
    logits = np.zeros(VOCAB, dtype=np.float32)
    logits[4] = -np.inf
    choice = Sampler(SamplingPolicy(temperature=0, logprobs=asked), VOCAB).choose(logits)
    assert choice.logprob == pytest.approx(-math.log(VOCAB - 1))
    assert len(choice.top) == n_top
    assert Sampler(SamplingPolicy(temperature=0), VOCAB).choose(logits).logprob is None


def test_a_restored_sampler_repeats_itself() -> None:
    policy = SamplingPolicy(seed=3, repetition_penalty=1.3, frequency_penalty=0.4, begin_suppress_tokens=(0,))
    sampler = Sampler(policy, VOCAB)
    sampler.accept_prompt([1, 2, 3])
    start = sampler.state()
    first = answer(sampler, 9)
    middle = sampler.state()
    second = answer(sampler, 9)
    sampler.restore(start)
    assert answer(sampler, 9) == first
    sampler.restore(middle)
    assert answer(sampler, 9) == second
    assert len(start.generated.counts) == 0


def test_a_greedy_sampler_can_be_restored_too() -> None:
    sampler = Sampler(SamplingPolicy(temperature=0, frequency_penalty=2.0), VOCAB)
    start = sampler.state()
    tokens = answer(sampler, 5)
    sampler.restore(start)
    assert answer(sampler, 5) == tokens


def test_choosing_changes_neither_logits_nor_what_was_seen() -> None:
    logits = random_logits()
    policy = SamplingPolicy(temperature=0, repetition_penalty=3.0, presence_penalty=2.0, logit_bias={4: 1.0})
    sampler = Sampler(policy, VOCAB)
    assert sampler.choose(logits) == sampler.choose(logits)
    np.testing.assert_array_equal(logits, random_logits())


@pytest.mark.parametrize("policy", [SamplingPolicy(temperature=0), SamplingPolicy(top_k=3), SamplingPolicy(top_p=0.9)])
@pytest.mark.parametrize(
    ("position", "value", "found"), [(17, np.nan, "nan for token 17"), (0, np.inf, "inf for token 0")]
)
def test_logits_that_are_no_numbers_raise(policy: SamplingPolicy, position: int, value: float, found: str) -> None:
    logits = random_logits()
    logits[position] = value
    with pytest.raises(NearlightError, match=f"^logits: expected finite numbers, found {found}; "):
        Sampler(policy, VOCAB).choose(logits)


def test_logits_without_any_possible_token_raise() -> None:
    with pytest.raises(NearlightError, match="-inf for every token"):
        Sampler(SamplingPolicy(), 3).choose(np.full(3, -np.inf, dtype=np.float32))


def test_excluding_every_token_is_the_requests_fault() -> None:
    sampler = Sampler(SamplingPolicy(logit_bias=dict.fromkeys(range(3), -math.inf)), 3)
    with pytest.raises(RequestError, match="exclude every token"):
        sampler.choose(np.zeros(3, dtype=np.float32))


def test_a_penalty_that_overflows_is_the_requests_fault() -> None:
    sampler = Sampler(SamplingPolicy(repetition_penalty=1e-45), 3)
    sampler.accept_prompt([1])
    with pytest.raises(RequestError, match="penalties and logit_bias: expected finite scores"):
        sampler.choose(np.ones(3, dtype=np.float32))


@pytest.mark.parametrize("ids", [[0, 61], [-1], np.array([3, 70], dtype=np.uint16)])
def test_a_prompt_outside_the_vocabulary_raises(ids: Any) -> None:
    with pytest.raises(RequestError, match=r"prompt: expected token ids from 0 to 60, found (61|-1|70)"):
        Sampler(SamplingPolicy(), VOCAB).accept_prompt(ids)


@pytest.mark.parametrize("ids", [[1.0, 2.0], [[1, 2]], ["one"]])
def test_a_prompt_that_is_no_list_of_ids_raises(ids: Any) -> None:
    with pytest.raises(RequestError, match="prompt: expected a flat list of token ids"):
        Sampler(SamplingPolicy(), VOCAB).accept_prompt(ids)


def test_an_empty_prompt_is_nothing_to_remember() -> None:
    sampler = Sampler(SamplingPolicy(), VOCAB)
    sampler.accept_prompt([])
    assert not len(sampler.state().seen.ids)


@pytest.mark.parametrize("token", [-1, VOCAB])
def test_an_accepted_token_outside_the_vocabulary_raises(token: int) -> None:
    with pytest.raises(RequestError, match=f"generated token: expected token ids from 0 to 60, found {token}"):
        Sampler(SamplingPolicy(), VOCAB).accept(token)


def test_a_policy_that_names_tokens_outside_the_vocabulary_raises() -> None:
    with pytest.raises(RequestError, match="logit_bias: expected token ids from 0 to 60, found 61"):
        Sampler(SamplingPolicy(logit_bias={3: 1.0, 61: 1.0}), VOCAB)
    with pytest.raises(RequestError, match=r"begin_suppress_tokens: .*found 99"):
        Sampler(SamplingPolicy(begin_suppress_tokens=(99,)), VOCAB)


@pytest.mark.parametrize("shape", [(VOCAB + 1,), (1, VOCAB), (0,)])
def test_logits_of_another_shape_raise(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"logits: expected shape \[61\]"):
        Sampler(SamplingPolicy(), VOCAB).choose(np.zeros(shape, dtype=np.float32))
