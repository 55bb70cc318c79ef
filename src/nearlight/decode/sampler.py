"""From a row of logits to the next token, for one sequence.

Penalties and biases change a copy of the logits (`penalties`), filters cut the distribution down by going down the
tokens in order (`filters`), and one token is drawn by inverse CDF over what is left, most probable first. What must
survive from token to token is little: which tokens were seen (`tally`), and where the random sequence stands. Both can
be saved and restored, so that drafted tokens can be taken back.

The same seed draws the same tokens on every platform. Each token uses one number of PCG64, read from the bit
generator itself: numpy promises that its stream never changes (NEP 19), and promises it for nothing built on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearlight.decode import filters, penalties
from nearlight.decode.policy import SamplingPolicy
from nearlight.decode.ranking import Ranking
from nearlight.decode.tally import Tally, TallyState
from nearlight.errors import NearlightError, RequestError, ShapeError


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token, and where asked for its log-probability and those of the most probable tokens, best first."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class SamplerState:
    """All that a sampler remembers at one moment; changes of the sampler do not reach it."""

    seen: TallyState
    generated: TallyState
    random: Any  # PCG64.state, or None for a greedy policy


class Sampler:
    """Chooses the tokens of one sequence by a policy.

    Feed it the prompt (`accept_prompt`), then for each step call `choose` and tell it with `accept` which token was
    really taken: with drafted tokens that need not be the one it chose.
    """

    def __init__(self, policy: SamplingPolicy, vocab_size: int) -> None:
        self.policy = policy
        self.vocab_size = vocab_size
        self._bias_ids = self._checked("logit_bias", list(policy.logit_bias))
        self._bias = np.array(list(policy.logit_bias.values()), dtype=np.float32)
        self._not_first = self._checked("begin_suppress_tokens", policy.begin_suppress_tokens)
        self._seen = Tally(vocab_size)  # prompt and answer
        self._generated = Tally(vocab_size)
        self._scores: NDArray[np.float32] | None = None  # where penalties work; the same memory for every token
        self._random = None if policy.greedy else np.random.PCG64(policy.seed)

    def accept_prompt(self, ids: Sequence[int] | NDArray[np.integer[Any]]) -> None:
        """Remember the tokens of the prompt, which only the repetition penalty looks at.

        Raises: RequestError for an id outside the vocabulary.
        """
        self._seen.add_all(self._checked("prompt", ids))

    def accept(self, token: int) -> None:
        """Remember a token of the answer.

        Raises: RequestError for an id outside the vocabulary.
        """
        if not 0 <= token < self.vocab_size:
            raise self._out_of_range("generated token", token)
        self._seen.add(token)
        self._generated.add(token)

    def choose(self, logits: NDArray[np.float32]) -> Choice:
        """Choose the next token, using up one random number unless the policy is greedy.

        Shapes: logits [V]; they are not changed. A logit of -inf excludes its token.
        Raises: NearlightError for NaN or +inf among the logits; RequestError where penalties or bias leave no token.
        """
        if logits.shape != (self.vocab_size,):
            raise ShapeError("logits", expected=f"shape [{self.vocab_size}]", found=list(logits.shape))
        logits = np.ascontiguousarray(logits, dtype=np.float32)
        scores = self._penalized(logits)
        ranking = Ranking(scores)
        if not math.isfinite(ranking.highest):
            raise _unusable(logits, scores)
        token = ranking.best() if self._random is None else draw(ranking, self.policy, _uniform(self._random))
        if self.policy.logprobs is None:
            return Choice(token)
        return _with_logprobs(token, logits, self.policy.logprobs)

    def state(self) -> SamplerState:
        """Save what the sampler remembers."""
        random = None if self._random is None else self._random.state
        return SamplerState(self._seen.state(), self._generated.state(), random)

    def restore(self, state: SamplerState) -> None:
        """Go back (or forward) to a saved state; the next choices repeat what they were then."""
        self._seen.restore(state.seen)
        self._generated.restore(state.generated)
        if self._random is not None and state.random is not None:
            self._random.state = state.random

    def _penalized(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply what the policy asks for; where it asks for nothing these are the logits themselves."""
        policy, generated = self.policy, self._generated
        counts = bool(policy.presence_penalty or policy.frequency_penalty)
        first = len(self._not_first) > 0 and len(generated.ids) == 0
        if policy.repetition_penalty == 1 and not counts and not len(self._bias_ids) and not first:
            return logits
        if self._scores is None:
            self._scores = np.empty_like(logits)
        scores = self._scores
        np.copyto(scores, logits)
        with np.errstate(all="ignore"):  # an overflow ends as an infinite best score, which `choose` reports
            if policy.repetition_penalty != 1:
                penalties.penalize_repetition(scores, self._seen.ids, policy.repetition_penalty)
            if counts:
                penalties.penalize_presence_and_frequency(
                    scores, generated.ids, generated.counts, policy.presence_penalty, policy.frequency_penalty
                )
            if len(self._bias_ids):
                penalties.add_bias(scores, self._bias_ids, self._bias)
            if first:
                excluded = np.full(len(self._not_first), -np.inf, dtype=np.float32)
                penalties.add_bias(scores, self._not_first, excluded)
        return scores

    def _checked(self, what: str, ids: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.intp]:
        if len(ids) == 0:
            return np.empty(0, dtype=np.intp)
        checked = np.asarray(ids)
        if checked.ndim != 1 or checked.dtype.kind not in "iu":
            raise RequestError(what, expected="a flat list of token ids", found=f"{checked.dtype} {checked.shape}")
        outside = checked[(checked < 0) | (checked >= self.vocab_size)]
        if len(outside):
            raise self._out_of_range(what, int(outside[0]))
        return checked.astype(np.intp)

    def _out_of_range(self, what: str, token: int) -> RequestError:
        expected = f"token ids from 0 to {self.vocab_size - 1}"
        return RequestError(what, expected=expected, found=token, advice="these ids belong to another vocabulary")


def draw(ranking: Ranking, policy: SamplingPolicy, uniform: float) -> int:
    """Draw a token from the distribution that the policy's temperature and filters leave, by inverse CDF.

    The highest score must be finite. `uniform` is in [0, 1).
    """
    if not policy.top_k and policy.top_p == 1 and policy.min_p == 0:
        # With nothing cut off, the token at which the CDF reaches `uniform` is the last of the nucleus of that mass.
        return int(filters.nucleus(ranking, policy.temperature, uniform).ids[-1])
    ids, ranked = kept(ranking, policy)
    return int(ids[filters.top_p(ranked, uniform, float(ranked.sum())) - 1])


def kept(ranking: Ranking, policy: SamplingPolicy) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Rank the tokens that the policy's filters keep, best first and ties by id, with their relative probabilities.

    Shapes: -> ids [n], relative probabilities [n]; n at least 1.
    """
    temperature, p = policy.temperature, policy.top_p
    if policy.top_k:
        top = filters.top_k(ranking, policy.top_k)
    elif p < 1:
        top = filters.nucleus(ranking, temperature, p)
    elif policy.min_p > 0:
        top = filters.at_least_min_p(ranking, temperature, policy.min_p)
    else:
        top = ranking.top(len(ranking))
    ranked = filters.relative_probabilities(top.scores, temperature)
    if policy.top_k and p < 1:
        ranked = ranked[: filters.top_p(ranked, p, float(ranked.sum()))]
    ranked = ranked[: filters.min_p(ranked, policy.min_p)]
    return top.ids[: len(ranked)], ranked


def _uniform(random: np.random.PCG64) -> float:
    """Turn the next 64 random bits into a number in [0, 1), by the 53 bits a float64 holds."""
    return (int(random.random_raw()) >> 11) * 2.0**-53


def _with_logprobs(token: int, logits: NDArray[np.float32], n_top: int) -> Choice:
    """Report log-probabilities of the model's own distribution: before penalties, temperature and filters.

    Source: OpenAI API, logprobs and top_logprobs.
    """
    ranking = Ranking(logits)
    log_total = ranking.highest + math.log(ranking.total(1.0))
    best = ranking.top(n_top).ids[:n_top] if n_top else ()
    top = tuple((int(id_), float(logits[id_]) - log_total) for id_ in best if logits[id_] > -np.inf)
    return Choice(token, float(logits[token]) - log_total, top)


def _unusable(logits: NDArray[np.float32], scores: NDArray[np.float32]) -> NearlightError:
    """Say whether the model or the request is to blame for scores that nothing can be chosen from."""
    broken = np.flatnonzero(np.isnan(logits) | (logits == np.inf))
    if len(broken) or not np.isfinite(logits).any():
        where = f"{logits[broken[0]]} for token {broken[0]}" if len(broken) else "-inf for every token"
        advice = "the package's weights are damaged, or too large for the format they are computed in"
        return NearlightError("logits", expected="finite numbers", found=where, advice=advice)
    if not np.isfinite(scores).any():
        return RequestError("logit_bias and suppressed tokens exclude every token", advice="leave at least one")
    advice = "use smaller ones"
    return RequestError("penalties and logit_bias", expected="finite scores", found="an overflow", advice=advice)
