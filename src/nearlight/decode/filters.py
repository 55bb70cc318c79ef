"""Temperature and the filters that cut unlikely tokens off: top-k, top-p (nucleus), min-p.

Put the tokens in one order, the most probable first and ties by id, and every filter keeps a prefix of it. So a
filter here is a question about that order, "how many?", and what remains for all of them is to sort only as deep as
the answer: a vocabulary has 150,000 tokens, and the nucleus of a confident model ten.

Order: temperature, top-k, top-p, min-p, each on what the one before kept, renormalized. It is transformers' order.
(vLLM cuts min-p before top-k and top-p; llama.cpp applies the temperature last.)

Source: arXiv:1805.04833 (top-k), arXiv:1904.09751 (top-p), arXiv:2407.01082 (min-p).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# How deep to sort at first when a mass is asked for, and by how much to go deeper when that was not enough.
_FIRST_DEPTH = 256
_DEEPER = 8

# Blocks per wanted token when looking for a threshold: enough that the best tokens rarely share a block.
_BLOCKS_PER_TOKEN = 8


def relative_probabilities(scores: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Give each token's probability at a temperature as a share of the most probable token's, which gets 1.

    Unlike softmax it needs no sum over the vocabulary, and it holds for any selection with the best token in it.
    It works in float64, so that platforms which add in another order differ by far less than any draw can see.

    Shapes: scores [n], the highest of them finite -> [n].
    """
    relative = scores.astype(np.float64)
    relative -= float(scores.max())
    with np.errstate(over="ignore"):  # a temperature next to 0 takes all but the best to exp(-inf), as it should
        relative /= temperature
    return np.exp(relative, out=relative)


def top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Rank the k tokens with the highest scores, and all that tie with the last of them; best first, ties by id.

    Ties are kept, as in transformers' TopKLogitsWarper, since no reason could be given for any choice among them.

    Shapes: scores [V] without NaN; k at least 1 -> ids [n], n at least min(k, V).
    """
    candidates = np.flatnonzero(scores >= _reached_by(scores, k)) if k < len(scores) else np.arange(len(scores))
    descending = -scores[candidates]
    order = np.argsort(descending, kind="stable")  # stable: among equals the lower id stays first
    descending = descending[order]
    last = descending[min(k, len(descending)) - 1]
    return candidates[order[: np.searchsorted(descending, last, side="right")]]


def _reached_by(scores: NDArray[np.float32], k: int) -> np.float32:
    """Find a score that at least k tokens reach, and hopefully few more, at the price of reading the scores once.

    The scores are dealt into blocks and each block's best is found; the k-th best of those is such a score, because
    k blocks have a token that reaches it. Selecting the k-th score itself (np.partition) takes 20 times as long.
    """
    n_blocks = min(len(scores), _BLOCKS_PER_TOKEN * k)
    depth = len(scores) // n_blocks
    dealt = scores[: depth * n_blocks].reshape(depth, n_blocks)
    best = np.concatenate([dealt.max(axis=0), scores[depth * n_blocks :]])
    reached: np.float32 = np.partition(best, -k)[-k]
    return reached


def top_p(ranked: NDArray[np.float64], p: float, total: float) -> int:
    """Count the tokens of the nucleus: the fewest, best first, that together hold at least p of the total.

    Where all of them hold less, all are counted.

    Shapes: ranked [n] relative probabilities, best first -> 1 to n.
    Source: arXiv:1904.09751, as transformers' TopPLogitsWarper.
    """
    return min(int(np.searchsorted(np.cumsum(ranked), p * total)) + 1, len(ranked))


def min_p(ranked: NDArray[np.float64], p: float) -> int:
    """Count the tokens whose probability is at least p times that of the best.

    Shapes: ranked [n] relative probabilities, best first -> 1 to n.
    Source: arXiv:2407.01082, as transformers' MinPLogitsWarper.
    """
    return int(np.searchsorted(-ranked, -p, side="right"))


def at_least_min_p(scores: NDArray[np.float32], temperature: float, p: float) -> NDArray[np.intp]:
    """Rank the tokens that min-p keeps of a whole vocabulary: those within temperature * log(1/p) of the best score.

    Shapes: scores [V]; p above 0 -> ids [n], best first.
    """
    lowest = max(float(scores.max()) + temperature * math.log(p), float(np.finfo(np.float32).min))
    # Rounded to the nearest float32 the bound loses no token. It may admit one; the probabilities then decide.
    n_candidates = int(np.count_nonzero(scores >= np.float32(lowest)))
    ids = top_k(scores, n_candidates)
    return ids[: min_p(relative_probabilities(scores[ids], temperature), p)]


def nucleus(scores: NDArray[np.float32], temperature: float, p: float) -> NDArray[np.intp]:
    """Rank the tokens of the nucleus of a whole vocabulary, sorting deeper only while their mass falls short of p.

    Tokens of no probability at all are never among them.

    Shapes: scores [V] -> ids [n], best first.
    """
    total = float(relative_probabilities(scores, temperature).sum())
    depth = _FIRST_DEPTH
    while True:
        ids = top_k(scores, depth)
        ranked = relative_probabilities(scores[ids], temperature)
        count = top_p(ranked, p, total)
        if count < len(ids) or len(ids) == len(scores):
            return ids[: min(count, np.count_nonzero(ranked))]
        depth *= _DEEPER
