"""What speculative decoding can gain: K cheap guesses, checked by the model in one step of K + 1 rows.

Each guess is accepted with probability a, and all after the first rejection are lost, so a round gives
(1 - a^(K+1)) / (1 - a) tokens on average. What the check costs is not assumed but taken from the same roofline as
decoding: nearly nothing while rows wait for memory, and growing once computing bounds.

Source: Leviathan, Kalman, Matias, arXiv:2211.17192.
"""

from __future__ import annotations

from dataclasses import dataclass

from nearlight.limits.costs import Costs
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import step_time

_PRECISION = 1e-6


@dataclass(frozen=True)
class Speculation:
    """Drafting `n_draft` tokens a round.

    Units: `verify_cost` and `draft_cost` (of one drafted token) in decode steps of the model; `break_even` is the
    acceptance rate below which drafting loses, None where even certain guesses would.
    """

    n_draft: int
    verify_cost: float
    draft_cost: float

    def tokens(self, acceptance: float) -> float:
        """Return how many tokens a round gives on average."""
        return sum(acceptance**i for i in range(self.n_draft + 1))

    def speedup(self, acceptance: float) -> float:
        """Return how many times faster than plain decoding it is."""
        return self.tokens(acceptance) / (self.verify_cost + self.n_draft * self.draft_cost)

    @property
    def break_even(self) -> float | None:
        if self.speedup(1.0) < 1:
            return None
        low, high = 0.0, 1.0
        while high - low > _PRECISION:
            middle = (low + high) / 2
            low, high = (middle, high) if self.speedup(middle) < 1 else (low, middle)
        return high


def speculation(costs: Costs, hardware: Hardware, context: int, n_draft: int, draft_cost: float = 0.0) -> Speculation:
    """Describe drafting at a context; `draft_cost` 0 is for guesses that cost nothing (a suffix table)."""
    step_s = step_time(costs.decode(context), hardware).total_s
    verify_s = step_time(costs.verify(context, n_draft + 1), hardware).total_s
    return Speculation(n_draft, verify_s / step_s, draft_cost)


def best_speculation(
    costs: Costs, hardware: Hardware, context: int, acceptance: float, draft_cost: float = 0.0, most: int = 32
) -> Speculation:
    """Return the number of drafted tokens that is fastest at an acceptance rate; 0 where drafting only loses."""
    choices = [speculation(costs, hardware, context, n_draft, draft_cost) for n_draft in range(most + 1)]
    return max(choices, key=lambda choice: choice.speedup(acceptance))
