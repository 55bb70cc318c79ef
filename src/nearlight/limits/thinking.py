"""What thinking tokens cost: they are decoded like an answer, make what follows later and its context longer."""

from __future__ import annotations

from dataclasses import dataclass

from nearlight.limits.costs import Costs
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import step_time


@dataclass(frozen=True)
class Thinking:
    """Units: seconds until the answer begins, bytes of cache, and seconds that each answer token takes longer."""

    n_tokens: int
    delay_s: float
    kv_bytes: float
    added_tpot_s: float


def thinking_cost(costs: Costs, hardware: Hardware, n_prompt: int, n_tokens: int) -> Thinking:
    """Return what n_tokens of thinking after a prompt cost.

    The time is that of the mean position times the number of tokens, exact while latency is a line.
    """
    before_s = step_time(costs.decode(n_prompt), hardware).total_s
    after_s = step_time(costs.decode(n_prompt + n_tokens), hardware).total_s
    kv_bytes = costs.kv_bytes(n_prompt + n_tokens) - costs.kv_bytes(n_prompt)
    return Thinking(n_tokens, n_tokens * (before_s + after_s) / 2, kv_bytes, after_s - before_s)
