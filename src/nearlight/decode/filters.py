"""Temperature and the filters that cut unlikely tokens off: top-k, top-p (nucleus), min-p.

Put the tokens in one order, the most probable first and ties by id, and every filter keeps a prefix of it. So a
filter here is a question about that order, "how many?", and what remains for all of them is to sort only as deep as
the answer: a vocabulary has 150,000 tokens, and the nucleus of a confident model ten. `Ranking` does that.

Order: temperature, top-k, top-p, min-p, each on what the one before kept, renormalized. It is transformers' order.
(vLLM cuts min-p before top-k and top-p; llama.cpp applies the temperature last.)

Source: arXiv:1805.04833 (top-k), arXiv:1904.09751 (top-p), arXiv:2407.01082 (min-p).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nearlight.decode.ranking import Ranking, Top

# How deep to sort at first when a mass is asked for, and by how much to go deeper when that was not enough.
_FIRST_DEPTH = 64
_DEEPER = 8

_COLDEST = 1e-200  # colder, a difference of scores divided by it could overflow; all but the best are at 0 long before


def relative_probabilities(scores: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Give each token's probability at a temperature as a share of the most probable token's, which gets 1.

    Unlike softmax it needs no sum over the vocabulary, and it holds for any selection with the best token in it.
    It works in float64, so that platforms which add in another order differ by far less than any draw can see.

    Shapes: scores [n], best first, the first of them finite -> [n].
    """
    relative = scores.astype(np.float64)
    relative -= relative[0]
    relative /= max(temperature, _COLDEST)
    return np.exp(relative, out=relative)


def top_k(ranking: Ranking, k: int) -> Top:
    """Take the k tokens with the highest scores, and all that tie with the last of them.

    Ties are kept, as in transformers' TopKLogitsWarper, since no reason could be given for any choice among them.

    Shapes: k at least 1 -> n tokens, n at least min(k, V).
    """
    top = ranking.top(k)
    if len(top.ids) <= k:
        return top
    return top.first(len(top.ids) - int(top.scores[::-1].searchsorted(top.scores[k - 1])))


def top_p(ranked: NDArray[np.float64], p: float, total: float) -> int:
    """Count the tokens of the nucleus: the fewest, best first, that together hold at least p of the total.

    Where all of them hold less, all are counted.

    Shapes: ranked [n] relative probabilities, best first -> 1 to n.
    Source: arXiv:1904.09751, as transformers' TopPLogitsWarper.
    """
    return min(int(ranked.cumsum().searchsorted(p * total)) + 1, len(ranked))


def min_p(ranked: NDArray[np.float64], p: float) -> int:
    """Count the tokens whose probability is at least p times that of the best, and above 0.

    Shapes: ranked [n] relative probabilities, best first -> 1 to n.
    Source: arXiv:2407.01082, as transformers' MinPLogitsWarper.
    """
    return len(ranked) - int(ranked[::-1].searchsorted(max(p, math.ulp(0.0))))


def at_least_min_p(ranking: Ranking, temperature: float, p: float) -> Top:
    """Take the tokens that min-p may keep of a whole vocabulary: those within temperature * log(1/p) of the best.

    Shapes: p above 0 -> n tokens. Rounded to float32 the bound loses none; it may admit one, which `min_p` then cuts.
    """
    lowest = max(ranking.highest + temperature * math.log(p), float(np.finfo(np.float32).min))
    return ranking.reaching(lowest)


def nucleus(ranking: Ranking, temperature: float, p: float) -> Top:
    """Take the tokens of the nucleus of a whole vocabulary, sorting deeper only while their mass falls short of p.

    Tokens of no probability at all are never among them.

    Shapes: -> n tokens, at least 1.
    """
    total, depth = ranking.total(temperature), _FIRST_DEPTH
    while True:
        top = ranking.top(depth)
        ranked = relative_probabilities(top.scores, temperature)
        count = top_p(ranked, p, total)
        if count < len(ranked) or len(ranked) == len(ranking):
            return top.first(min(count, int(np.count_nonzero(ranked))))
        depth *= _DEEPER
