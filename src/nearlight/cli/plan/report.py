"""A plan, the same in other formats of weights, and the answers to what else was asked; `plan --json` is made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nearlight.limits.promise import Load, Promise, Users
from nearlight.limits.speculation import Speculation
from nearlight.limits.thinking import Thinking
from nearlight.plan import Plan


@dataclass(frozen=True)
class PlanReport:
    """What `nearlight plan` has to say; `plans` begins with the plan that was asked for.

    `users`, `speculation` and `thinking` are None where they were not asked for, or it does not fit.
    """

    plans: Sequence[Plan]
    load: Load
    promise: Promise | None = None
    acceptance: float | None = None
    users: Users | None = None
    speculation: Speculation | None = None
    thinking: Thinking | None = None
    notes: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        plans: Sequence[Plan],
        *,
        n_answer: int,
        promise: Promise | None = None,
        acceptance: float | None = None,
        n_think: int | None = None,
        notes: Sequence[str] = (),
    ) -> PlanReport:
        """Answer what was asked, as far as it fits."""
        plan = plans[0]
        load = Load(plan.prefill.n_prompt if plan.prefill else 1, n_answer)
        fits = plan.fits
        return cls(
            plans,
            load,
            promise,
            acceptance,
            users=plan.users(promise, load) if fits and promise else None,
            speculation=plan.speculation(acceptance) if fits and acceptance is not None else None,
            thinking=plan.thinking(load.n_prompt, n_think) if fits and n_think else None,
            notes=notes,
        )

    @property
    def plan(self) -> Plan:
        return self.plans[0]

    @property
    def by_size(self) -> list[Plan]:
        """All plans, the largest weights first."""
        return sorted(self.plans, key=lambda plan: -plan.memory.weights)

    @property
    def holds(self) -> bool:
        """Whether it fits, and the promise can be kept for one user at least."""
        return self.plan.fits and (self.users is None or self.users.count > 0)

    def as_json(self) -> dict[str, Any]:
        """Build the object of `plan --json`: that of the plan, and more keys."""
        return self.plan.as_json() | {
            "compare": [_compared(plan) for plan in self.by_size],
            "users": self._users_json(),
            "speculation": self._speculation_json(),
            "thinking": asdict(self.thinking) if self.thinking else None,
            "remarks": list(self.notes),
        }

    def _users_json(self) -> dict[str, Any] | None:
        if self.users is None or self.promise is None:
            return None
        return asdict(self.users) | {"promise": asdict(self.promise), "load": asdict(self.load)}

    def _speculation_json(self) -> dict[str, Any] | None:
        speculation, acceptance = self.speculation, self.acceptance
        if speculation is None or acceptance is None:
            return None
        derived = {"speedup": speculation.speedup(acceptance), "break_even": speculation.break_even}
        return asdict(speculation) | {"acceptance": acceptance} | derived


def _compared(plan: Plan) -> dict[str, Any]:
    """Say what another format of weights would change."""
    whole = plan.as_json()
    return {key: whole[key] for key in ("weights", "fits", "memory", "max_context", "prefill", "decode", "decode_line")}
