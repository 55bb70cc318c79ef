"""Penalties and biases: what is added to or scaled in the logits before a token is chosen.

They touch few tokens of a large vocabulary, so each takes the ids it concerns and changes their scores in place. Give
them a copy: the logits as the model gave them are still needed, for log-probabilities.

Order: repetition, then presence and frequency, then bias. llama.cpp's penalty sampler and vLLM apply the penalties in
this order too. The bias comes last so that -inf, and the size of any other bias, mean the same whatever was generated
before; transformers also suppresses tokens after its repetition penalty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def penalize_repetition(scores: NDArray[np.float32], ids: NDArray[np.intp], penalty: float) -> None:
    """Divide the positive scores of tokens already seen by the penalty, and multiply the negative ones.

    It counts a token once, however often it was seen, and in the prompt as well as in the answer.

    Shapes: scores [V]; ids [n], each id once.
    Source: arXiv:1909.05858 (CTRL), in the sign-aware form of transformers' RepetitionPenaltyLogitsProcessor.
    """
    seen = scores[ids]
    scores[ids] = np.where(seen < 0, seen * np.float32(penalty), seen / np.float32(penalty))


def penalize_presence_and_frequency(
    scores: NDArray[np.float32],
    ids: NDArray[np.intp],
    counts: NDArray[np.int32],
    presence: float,
    frequency: float,
) -> None:
    """Subtract `presence` once and `frequency` per occurrence from tokens already generated.

    Only the answer counts, not the prompt.

    Shapes: scores [V]; ids [n], each id once; counts [n], at least 1.
    Source: OpenAI API, "frequency and presence penalties": mu[j] -= c[j]*frequency + (c[j] > 0)*presence.
    """
    scores[ids] -= (counts * frequency + presence).astype(np.float32)


def add_bias(scores: NDArray[np.float32], ids: NDArray[np.intp], bias: NDArray[np.float32]) -> None:
    """Add a bias to the scores of some tokens; -inf excludes a token.

    Shapes: scores [V]; ids [n], each id once; bias [n].
    Source: OpenAI API, logit_bias; transformers' SuppressTokensLogitsProcessor for -inf.
    """
    scores[ids] += bias
