"""Accounts for a step's time, by kind of op: what each moved and computed, how close it came to its own limit, and
what would be gained if it reached it.

Nothing is left out: beside the ops stand quantizing activations, the waiting of threads for one another, and
what happens around the native step (Python, waking the threads, copying the logits). Choosing a token is no part of a
step, so it is told apart. An op's own limit is that of its bytes and operations; what costs neither (lookups, waiting)
has none, and all of its time could be gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nearlight.bench.profile import QUANTIZE, Profile
from nearlight.kernels.count import OpCost, StepCost
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import step_time

WAITING, AROUND = "threads waiting", "around the step"


@dataclass(frozen=True)
class Account:
    """The time of one kind of op in a step.

    Units: seconds, bytes, operations. `calls` is how many there are, `data_type` what most operations
    are done in ("" without any). `gain` is how many times as fast the step would be
    if this reached its limit.
    """

    kind: str
    calls: int
    seconds: float
    share: float
    n_bytes: float
    operations: float
    data_type: str
    limit_s: float
    gain: float

    @property
    def bytes_per_s(self) -> float:
        return self.n_bytes / self.seconds if self.seconds else 0.0

    @property
    def flops_per_s(self) -> float:
        return self.operations / self.seconds if self.seconds else 0.0

    @property
    def share_of_limit(self) -> float | None:
        """The part of its own limit that was reached; None where there is no limit to reach."""
        return self.limit_s / self.seconds if self.limit_s and self.seconds else None

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "calls": self.calls,
            "seconds": self.seconds,
            "share": self.share,
            "bytes": self.n_bytes,
            "flops": self.operations,
            "data_type": self.data_type,
            "bytes_per_s": self.bytes_per_s,
            "flops_per_s": self.flops_per_s,
            "limit_s": self.limit_s,
            "share_of_limit": self.share_of_limit,
            "gain": self.gain,
        }


@dataclass(frozen=True)
class Explanation:
    """A step taken apart. `name` is the step's; `n_tokens` how many it computes.

    Units: seconds. `sampling_s` is what choosing a token by a usual policy takes besides; 0 where none is chosen.
    """

    name: str
    n_tokens: int
    step_s: float
    limit_s: float
    accounts: Sequence[Account]
    sampling_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "step": self.name,
            "n_tokens": self.n_tokens,
            "step_s": self.step_s,
            "limit_s": self.limit_s,
            "sampling_s": self.sampling_s,
            "accounts": [account.as_json() for account in self.accounts],
        }


def explain(name: str, n_tokens: int, profile: Profile, hardware: Hardware, sampling_s: float = 0.0) -> Explanation:
    """Account for a profile, the largest part first."""
    costs: dict[str, list[OpCost]] = {}
    calls: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for op in profile.ops:
        kind = _kind(op.role)
        calls[kind] = calls.get(kind, 0) + 1
        seconds[kind] = seconds.get(kind, 0.0) + op.seconds
        if op.cost is not None:
            costs.setdefault(kind, []).append(op.cost)
    whole = StepCost(cost for group in costs.values() for cost in group)
    hardware = hardware.for_step(whole.bytes_read + whole.bytes_written)
    seconds |= {WAITING: profile.waiting_s, AROUND: profile.around_s}
    accounts = [
        _account(kind, calls.get(kind, 1), time, StepCost(costs.get(kind, [])), profile.step_s, hardware)
        for kind, time in seconds.items()
    ]
    accounts.sort(key=lambda account: -account.seconds)
    limit_s = step_time(whole, hardware).total_s
    return Explanation(name, n_tokens, profile.step_s, limit_s, accounts, sampling_s)


def _kind(role: str) -> str:
    """Name a role for people."""
    return {"rms_norm": "norms", "layer_norm": "norms", "attend": "attention", QUANTIZE: "quantize activations"}.get(
        role, role
    )


def _account(kind: str, calls: int, seconds: float, cost: StepCost, step_s: float, hardware: Hardware) -> Account:
    limit_s = step_time(cost, hardware).total_s
    gainable = max(seconds - limit_s, 0.0)
    return Account(
        kind=kind,
        calls=calls,
        seconds=seconds,
        share=seconds / step_s,
        n_bytes=cost.bytes_read + cost.bytes_written,
        operations=sum(cost.operations.values()),
        data_type=max(cost.operations, key=cost.operations.__getitem__, default=""),
        limit_s=limit_s,
        gain=step_s / (step_s - gainable) if gainable < step_s else float("inf"),
    )
