"""What a person may ask of decoding, as one frozen and validated value, and how a package's defaults become one.

A policy is data: it can be printed, compared, sent to another process and shared by many sequences. What changes
while decoding (tokens seen, random numbers drawn) lives in `sampler.Sampler`. This module imports no numpy, so that
a command line can be read without it.

Source: generation_config.json as transformers writes it; the OpenAI API for presence, frequency, bias and logprobs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, NamedTuple

from nearlight.errors import PackageError, RequestError


class _Range(NamedTuple):
    """The numbers a field takes, in words and as a test."""

    expected: str
    accepts: Callable[[float], bool]
    whole: bool = False


_RANGES = {
    "temperature": _Range("a number of at least 0", lambda value: 0 <= value < math.inf),
    "top_k": _Range("a whole number of at least 1, or 0 for all tokens", lambda value: value >= 0, whole=True),
    "top_p": _Range("a number from 0 to 1", lambda value: 0 <= value <= 1),
    "min_p": _Range("a number from 0 to 1", lambda value: 0 <= value <= 1),
    "repetition_penalty": _Range("a number above 0", lambda value: 0 < value < math.inf),
    "presence_penalty": _Range("a number from -2 to 2", lambda value: -2 <= value <= 2),
    "frequency_penalty": _Range("a number from -2 to 2", lambda value: -2 <= value <= 2),
    "seed": _Range("a whole number from 0 to 2^64 - 1", lambda value: 0 <= value < 1 << 64, whole=True),
    "logprobs": _Range("a whole number of at least 0", lambda value: value >= 0, whole=True),
}
_BIAS = _Range(
    "a number from -1e6 to 1e6, or -inf to exclude the token", lambda value: abs(value) <= 1e6 or value == -math.inf
)
_TOKEN_ID = _Range("a token id, a whole number of at least 0", lambda value: value >= 0, whole=True)

# Which of a package's keys set a field of the same name, and the three of them that cut the distribution down, each
# with the value that leaves it whole.
_PACKAGE_NUMBERS = tuple(name for name in _RANGES if name not in ("seed", "logprobs"))
_FILTERS_OFF = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
_SAMPLING = ("temperature", *_FILTERS_OFF)

# Keys of generation_config.json that would change the choice of tokens and that nearlight does not follow, each with
# the value that asks for nothing.
_NOT_FOLLOWED: dict[str, object] = {
    "bad_words_ids": None,
    "diversity_penalty": 0.0,
    "encoder_repetition_penalty": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "exponential_decay_length_penalty": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "guidance_scale": 1.0,
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "penalty_alpha": 0.0,
    "sequence_bias": None,
    "top_h": None,
    "typical_p": 1.0,
}


@dataclass(frozen=True)
class SamplingPolicy:
    """How to choose tokens. The default samples from the model's own distribution, unchanged.

    `temperature` 0 is greedy; `top_k` 0 (or -1, as some servers write it), `top_p` 1, `min_p` 0 and the penalties'
    1, 0, 0 are off. `logit_bias` maps token ids to what is added to their logits; -inf excludes a token.
    `begin_suppress_tokens` may not come first in an answer. `seed` None draws differently each time. `logprobs` None
    reports none, 0 the chosen token's, n also those of the n most probable tokens.

    Raises: RequestError naming the field, what it takes and what it was given.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    begin_suppress_tokens: tuple[int, ...] = ()
    seed: int | None = None
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if self.top_k == -1:
            object.__setattr__(self, "top_k", 0)
        for name, allowed in _RANGES.items():
            value = getattr(self, name)
            if value is not None or name not in ("seed", "logprobs"):
                object.__setattr__(self, name, _number(name, value, allowed))
        object.__setattr__(self, "logit_bias", _bias(self.logit_bias))
        tokens = _token_ids("begin_suppress_tokens", self.begin_suppress_tokens)
        object.__setattr__(self, "begin_suppress_tokens", tokens)

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always chosen, so that no random number is ever drawn."""
        return self.temperature == 0 or self.top_k == 1

    @classmethod
    def from_generation(cls, generation: Mapping[str, Any], **overrides: Any) -> SamplingPolicy:
        """Take a package's generation defaults and let what a person gave, by field name, override them.

        An override of None means "not given". Whether to sample is decided in this order:

        1. The person: a temperature says it outright (0 is greedy, above 0 samples). Otherwise a filter that cuts
           anything off (`top_k`, `top_p`, `min_p`) is a wish to sample, since it would do nothing in greedy decoding.
           A seed alone is not: scripts set one always, and it must not change what is decoded.
        2. The package: `do_sample`. Where that is absent, a package that gives sampling values is meant to be
           sampled, and one that gives none is decoded greedily.

        A package that samples "greedily" (temperature 0, or top_k 1) loses all four of its sampling values when a
        person asks for sampling: they spell greedy together, and one left over would defeat what was asked. Where a
        package gives no top_k, none applies; transformers would silently take 50. A `logit_bias` given joins the
        package's suppressed tokens, and wins where both name a token.

        Raises: RequestError for an override out of range or unknown; PackageError for a default out of range.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        cls(**_known(given))  # each value is sound from here on
        package = _package_values(generation, overridden=given.keys())
        asked = _asks_for_sampling(given)
        meant_greedy = package.get("temperature") == 0 or package.get("top_k") == 1
        if asked is None:
            sampling_values = any(name in package for name in _SAMPLING)
            sample = _flag(generation, "do_sample", absent=sampling_values) and not meant_greedy
        else:
            sample = asked
        if not sample or meant_greedy:
            package = {name: value for name, value in package.items() if name not in _SAMPLING}
        if not sample:
            package["temperature"] = 0.0
        settings = package | given
        settings["logit_bias"] = package["logit_bias"] | given.get("logit_bias", {})
        return cls(**settings)


def settings_not_followed(generation: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the keys of a package's generation defaults that ask for decoding which nearlight does not do."""
    return tuple(
        name
        for name, neutral in _NOT_FOLLOWED.items()
        if generation.get(name) is not None and generation[name] != neutral
    )


def _asks_for_sampling(given: Mapping[str, Any]) -> bool | None:
    """Read a person's wish from the values given: to sample, not to, or neither said."""
    if "temperature" in given:
        return bool(given["temperature"] > 0)
    if any(given.get(name, off) not in (off, -1) for name, off in _FILTERS_OFF.items()):
        return True
    return None


def _package_values(generation: Mapping[str, Any], overridden: Iterable[str]) -> dict[str, Any]:
    """Read the policy's fields out of generation_config.json's keys; a null is as good as absent."""
    values: dict[str, Any] = {
        name: generation[name]
        for name in _PACKAGE_NUMBERS
        if generation.get(name) is not None and name not in overridden
    }
    try:
        suppressed = _token_ids("suppress_tokens", generation.get("suppress_tokens") or ())
        first = _token_ids("begin_suppress_tokens", generation.get("begin_suppress_tokens") or ())
        values["logit_bias"] = dict.fromkeys(suppressed, -math.inf)
        values["begin_suppress_tokens"] = first
        SamplingPolicy(**values)
    except RequestError as error:
        raise PackageError(str(error), where="generation_config") from None
    return values


def _flag(generation: Mapping[str, Any], name: str, *, absent: bool) -> bool:
    value = generation.get(name)
    if value is None:
        return absent
    if not isinstance(value, bool):
        raise PackageError(name, where="generation_config", expected="true or false", found=repr(value))
    return value


def _known(given: Mapping[str, Any]) -> Mapping[str, Any]:
    names = [field.name for field in fields(SamplingPolicy)]
    for name in given:
        if name not in names:
            raise RequestError("decoding setting", expected="one of " + ", ".join(names), found=repr(name))
    return given


def _number(name: str, value: Any, allowed: _Range) -> float:
    is_number = isinstance(value, Integral if allowed.whole else Real) and not isinstance(value, bool)
    if is_number and allowed.accepts(value):
        try:
            return int(value) if allowed.whole else float(value)
        except OverflowError:  # a whole number that no float can hold
            pass
    raise RequestError(name, expected=allowed.expected, found=repr(value))


def _bias(bias: object) -> dict[int, float]:
    if not isinstance(bias, Mapping):
        raise RequestError("logit_bias", expected="a mapping from token ids to numbers", found=repr(bias))
    return {
        int(_number("logit_bias", token, _TOKEN_ID)): _number(f"logit_bias of token {token}", value, _BIAS)
        for token, value in bias.items()
    }


def _token_ids(name: str, ids: object) -> tuple[int, ...]:
    if not isinstance(ids, Iterable) or isinstance(ids, str | bytes):
        raise RequestError(name, expected="a list of token ids", found=repr(ids))
    return tuple(int(_number(name, token, _TOKEN_ID)) for token in ids)
