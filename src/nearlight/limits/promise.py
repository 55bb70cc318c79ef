"""How many users a machine can serve at once under a promise: first token within so long, every next within so long.

The load is steady: every user sends a prompt, reads the answer, sends the next prompt. While an answer of N tokens is
decoded, each of the B users' prompts must be computed once too, so a token takes, on average, a decode step of B rows
and B / N prompts. No queueing is modelled: prompts come evenly, so this is an upper bound on users.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nearlight.errors import RequestError
from nearlight.limits.costs import Costs
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import largest, step_time, steps_time

_MOST_USERS = 1 << 14


@dataclass(frozen=True)
class Promise:
    """What every user is promised. Units: seconds to the first token, seconds per token after it."""

    ttft_s: float
    tpot_s: float

    @staticmethod
    def parse(text: str) -> Promise:
        """Read a promise like "ttft=2s,tpot=50ms". Raises: RequestError when it is not one."""
        found = {}
        for part in text.replace(" ", "").split(","):
            match = re.fullmatch(r"(ttft|tpot)=(\d+(?:\.\d+)?)(ms|s)", part)
            if match:
                found[match[1]] = float(match[2]) / (1000 if match[3] == "ms" else 1)
        if set(found) != {"ttft", "tpot"} or min(found.values()) <= 0:
            raise RequestError("sla", expected="like ttft=2s,tpot=50ms", found=repr(text))
        return Promise(found["ttft"], found["tpot"])


@dataclass(frozen=True)
class Load:
    """What every user asks for, again and again. Units: tokens."""

    n_prompt: int
    n_answer: int


@dataclass(frozen=True)
class Users:
    """How many users at once, what stops one more ("memory", "ttft" or "tpot"), and what they get.

    Units: `tok_s` is the sum over all users.
    """

    count: int
    stopped_by: str
    ttft_s: float
    tpot_s: float
    tok_s: float


def users_under(
    promise: Promise, load: Load, costs: Costs, hardware: Hardware, room_bytes: float, chunk: int | None = None
) -> Users:
    """Find the largest number of users for whom the promise holds; all of them decode in one batch.

    Units: `room_bytes` is the memory left for keys and values.
    """
    prompt_s = steps_time(costs.prefill(load.n_prompt, chunk), hardware).total_s
    kv_bytes = costs.kv_bytes(load.n_prompt + load.n_answer)
    mean_context = load.n_prompt + load.n_answer // 2

    def times(users: int) -> tuple[float, float]:
        step_s = step_time(costs.decode(mean_context, users), hardware).total_s
        return prompt_s + step_s, step_s + users * prompt_s / load.n_answer

    def stops(users: int) -> str:
        ttft_s, tpot_s = times(users)
        if users * kv_bytes > room_bytes:
            return "memory"
        return "ttft" if ttft_s > promise.ttft_s else "tpot" if tpot_s > promise.tpot_s else ""

    count = largest(lambda users: not stops(users), _MOST_USERS)
    ttft_s, tpot_s = times(max(count, 1))
    return Users(count, stops(count + 1), ttft_s, tpot_s, count / tpot_s)
