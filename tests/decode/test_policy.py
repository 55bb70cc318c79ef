"""Policies: every field refuses what it cannot mean, and package defaults yield to what a person asks for."""

from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import numpy as np
import pytest

from nearlight.decode.policy import SamplingPolicy, settings_not_followed
from nearlight.errors import PackageError, RequestError

QWEN3 = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "pad_token_id": 151643}
QWEN2_VL = {"do_sample": True, "temperature": 0.01, "top_k": 1, "top_p": 0.001, "repetition_penalty": 1.05}
TURNED_OFF = {"do_sample": False, "temperature": 0.7, "top_p": 0.8}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("temperature", -0.1, "a number of at least 0"),
        ("temperature", math.inf, "a number of at least 0"),
        ("temperature", math.nan, "a number of at least 0"),
        ("temperature", "hot", "a number of at least 0"),
        ("temperature", True, "a number of at least 0"),
        ("temperature", None, "a number of at least 0"),
        ("top_k", -2, "a whole number of at least 1, or 0 for all tokens"),
        ("top_k", 2.5, "a whole number"),
        ("top_p", 1.01, "a number from 0 to 1"),
        ("top_p", -0.01, "a number from 0 to 1"),
        ("min_p", 1.5, "a number from 0 to 1"),
        ("repetition_penalty", 0.0, "a number above 0"),
        ("presence_penalty", 2.1, "a number from -2 to 2"),
        ("frequency_penalty", -2.1, "a number from -2 to 2"),
        ("seed", -1, "a whole number from 0 to 2^64 - 1"),
        ("seed", 1 << 64, "a whole number from 0 to 2^64 - 1"),
        ("seed", 1.0, "a whole number from 0 to 2^64 - 1"),
        ("logprobs", -1, "a whole number of at least 0"),
        ("begin_suppress_tokens", (3, -7), "a token id"),
        ("begin_suppress_tokens", 3, "a list of token ids"),
        ("logit_bias", [3], "a mapping from token ids to numbers"),
    ],
)
def test_a_value_out_of_range_names_field_range_and_value(name: str, value: object, expected: str) -> None:
    with pytest.raises(RequestError) as caught:
        SamplingPolicy(**{name: value})  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith(name)
    assert expected in message
    assert message.endswith(f"found {value!r}") or name == "begin_suppress_tokens"


@pytest.mark.parametrize("bias", [{-1: 0.0}, {"5": 1.0}, {5: math.inf}, {5: math.nan}, {5: "much"}, {5: 1e30}])
def test_a_senseless_bias_is_refused(bias: Any) -> None:
    with pytest.raises(RequestError, match="logit_bias"):
        SamplingPolicy(logit_bias=bias)


def test_edges_of_the_ranges_are_taken() -> None:
    policy = SamplingPolicy(temperature=0, top_k=0, top_p=0, min_p=1, presence_penalty=-2, frequency_penalty=2, seed=0)
    assert (policy.temperature, policy.top_p, policy.seed, policy.logprobs) == (0.0, 0.0, 0, None)
    assert SamplingPolicy(logit_bias={0: -math.inf}).logit_bias == {0: -math.inf}
    assert SamplingPolicy(top_k=-1) == SamplingPolicy(top_k=0)


def test_numpy_numbers_become_plain_ones() -> None:
    policy = SamplingPolicy(temperature=np.float32(0.5), top_k=np.int64(7), logit_bias={np.int32(3): np.float32(2)})  # type: ignore[arg-type, dict-item]
    assert type(policy.temperature) is float
    assert type(policy.top_k) is int
    assert [type(part) for item in policy.logit_bias.items() for part in item] == [int, float]


def test_a_policy_is_a_value() -> None:
    bias = {5: 1.0}
    policy = SamplingPolicy(top_k=7, logit_bias=bias)
    bias[5] = 2.0
    assert policy.logit_bias == {5: 1.0}
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert hash(policy) == hash(SamplingPolicy(top_k=7, logit_bias={5: 1.0}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.top_k = 3  # type: ignore[misc]


@pytest.mark.parametrize(("settings", "greedy"), [({}, False), ({"temperature": 0}, True), ({"top_k": 1}, True)])
def test_greedy_is_temperature_zero_or_top_k_one(settings: dict[str, Any], greedy: bool) -> None:
    assert SamplingPolicy(**settings).greedy is greedy


def sampling(policy: SamplingPolicy) -> tuple[float, int, float, float]:
    return policy.temperature, policy.top_k, policy.top_p, policy.min_p


@pytest.mark.parametrize(
    ("generation", "overrides", "expected"),
    [
        # The package speaks.
        (QWEN3, {}, (0.6, 20, 0.95, 0.0)),
        (TURNED_OFF, {}, (0.0, 0, 1.0, 0.0)),
        ({}, {}, (0.0, 0, 1.0, 0.0)),
        ({"temperature": 0.7}, {}, (0.7, 0, 1.0, 0.0)),
        ({"do_sample": True}, {}, (1.0, 0, 1.0, 0.0)),
        ({"do_sample": True, "temperature": 0}, {}, (0.0, 0, 1.0, 0.0)),
        ({"do_sample": None, "temperature": None, "top_k": None}, {}, (0.0, 0, 1.0, 0.0)),
        # A person overrides single values; None is not a value.
        (QWEN3, {"top_k": 40, "min_p": 0.1, "top_p": None}, (0.6, 40, 0.95, 0.1)),
        (QWEN3, {"temperature": 0}, (0.0, 0, 1.0, 0.0)),
        (QWEN3, {"top_k": 0, "top_p": 1.0}, (0.6, 0, 1.0, 0.0)),
        # A person asks a greedy package for sampling: its own values then apply.
        (TURNED_OFF, {"temperature": 0.9}, (0.9, 0, 0.8, 0.0)),
        (TURNED_OFF, {"top_p": 0.5}, (0.7, 0, 0.5, 0.0)),
        (TURNED_OFF, {"top_k": 5}, (0.7, 5, 0.8, 0.0)),
        ({}, {"min_p": 0.1}, (1.0, 0, 1.0, 0.1)),
        # What cuts nothing off, and a seed, are no wish to sample.
        (TURNED_OFF, {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "seed": 3}, (0.0, 0, 1.0, 0.0)),
        (TURNED_OFF, {"top_p": 0.5, "temperature": 0}, (0.0, 0, 0.5, 0.0)),
        # Values that spell "greedy" go together.
        (QWEN2_VL, {}, (0.0, 0, 1.0, 0.0)),
        (QWEN2_VL, {"temperature": 0.8}, (0.8, 0, 1.0, 0.0)),
        (QWEN2_VL, {"top_p": 0.9}, (1.0, 0, 0.9, 0.0)),
    ],
)
def test_defaults_and_overrides(
    generation: dict[str, Any], overrides: dict[str, Any], expected: tuple[float, int, float, float]
) -> None:
    assert sampling(SamplingPolicy.from_generation(generation, **overrides)) == expected


def test_penalties_hold_in_greedy_decoding_too() -> None:
    policy = SamplingPolicy.from_generation(QWEN2_VL, presence_penalty=0.5, logprobs=3)
    assert policy.greedy
    assert (policy.repetition_penalty, policy.presence_penalty, policy.logprobs) == (1.05, 0.5, 3)


def test_suppressed_tokens_become_a_bias_that_a_person_may_lift() -> None:
    generation = {"suppress_tokens": [3, 5], "begin_suppress_tokens": [7]}
    policy = SamplingPolicy.from_generation(generation, logit_bias={5: 0.0, 11: 2.0})
    assert policy.logit_bias == {3: -math.inf, 5: 0.0, 11: 2.0}
    assert policy.begin_suppress_tokens == (7,)
    assert SamplingPolicy.from_generation({"suppress_tokens": None}).logit_bias == {}


@pytest.mark.parametrize(
    "generation",
    [{"temperature": -1}, {"top_p": "high"}, {"suppress_tokens": [-1]}, {"suppress_tokens": 5}, {"do_sample": "yes"}],
)
def test_a_bad_default_is_the_packages_fault(generation: dict[str, Any]) -> None:
    with pytest.raises(PackageError, match=rf"^generation_config: {next(iter(generation))}.*expected"):
        SamplingPolicy.from_generation(generation)


def test_an_override_replaces_a_bad_default() -> None:
    assert SamplingPolicy.from_generation({"temperature": -1}, temperature=0.5).temperature == 0.5


def test_bad_overrides_are_the_persons_fault() -> None:
    with pytest.raises(RequestError, match="top_p: expected a number from 0 to 1, found 7"):
        SamplingPolicy.from_generation(QWEN3, top_p=7)
    with pytest.raises(RequestError, match=r"expected one of temperature, top_k, .*found 'topk'"):
        SamplingPolicy.from_generation(QWEN3, topk=7)


def test_settings_not_followed_are_those_that_ask_for_something() -> None:
    generation = {"typical_p": 1.0, "num_beams": 4, "no_repeat_ngram_size": 3, "bad_words_ids": None, "top_k": 20}
    assert settings_not_followed(generation) == ("no_repeat_ngram_size", "num_beams")
