"""A finished plan: the verdict first, then the numbers. `as_json` is the contract of `plan --json`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from nearlight.counting.counted_model import ParameterCounts
from nearlight.limits.costs import Costs
from nearlight.limits.hardware import Hardware
from nearlight.limits.promise import Load, Promise, Users, users_under
from nearlight.limits.roofline import DecodeLine, step_time
from nearlight.limits.speculation import Speculation, best_speculation
from nearlight.limits.thinking import Thinking, thinking_cost
from nearlight.quantities import memory_text


@dataclass(frozen=True)
class Memory:
    """What must fit. Units: bytes; `kv` is one sequence of the planned context. `origin` says what `available` is,
    "free of this machine's 23.6 GiB", or nothing where it is all that it has. `in_file` are tables that stay in
    the model's file and take no memory; a token's step reads `in_file_per_token` of them."""

    weights: float
    kv: float
    overhead: float
    available: float
    origin: str = ""
    in_file: float = 0
    in_file_per_token: float = 0

    @property
    def total(self) -> float:
        return self.weights + self.kv + self.overhead

    @property
    def fits(self) -> bool:
        return self.total <= self.available

    @property
    def room(self) -> float:
        """What weights and overhead leave for keys and values; negative if they do not fit themselves."""
        return self.available - self.weights - self.overhead


@dataclass(frozen=True)
class Fit:
    """What of a model fits: its costs, the planned context, and the longest that memory and positions allow."""

    costs: Costs
    context: int
    memory: Memory
    max_context: int
    kv_bytes_per_token: float


@dataclass(frozen=True)
class Prefill:
    """The least time to the first token of a prompt, and the rows from which computing bounds.

    Units: seconds, tokens; the inflections are None where no number of rows is bound by computing. `inflection_rough`
    belongs to the "blog" convention.
    """

    n_prompt: int
    read_s: float
    compute_s: float
    ttft_s: float
    bound: str
    inflection_tokens: float | None
    inflection_rough: float | None = None


@dataclass(frozen=True)
class DecodePoint:
    """The least time per token when `context` tokens are cached."""

    context: int
    tpot_s: float
    tok_s: float
    bound: str


@dataclass(frozen=True)
class Plan:
    """What a model needs and how fast it can be on a machine.

    `prefill` and `decode_line` are None, and `decode` is empty, where nothing fits; `decode` never goes beyond
    `max_context`. `costs` gives the cost of any other step, for tables and pictures. `chunk` is how many rows a step of
    prefill has. `obstacle` is why nearlight could not run it there even if it fits, in one sentence.
    """

    model: str
    weights: str
    kv: str
    convention: str
    hardware: Hardware
    costs: Costs
    params: ParameterCounts
    kv_bytes_per_token: float
    context: int
    chunk: int | None
    memory: Memory
    max_context: int
    prefill: Prefill | None
    decode: tuple[DecodePoint, ...]
    decode_line: DecodeLine | None
    advice: tuple[str, ...] = ()
    obstacle: str | None = None

    @property
    def fits(self) -> bool:
        return self.memory.fits

    @property
    def label(self) -> str:
        """Where the figures are from: "measured" on this machine, else "estimated" from a data sheet."""
        return self.hardware.label

    @property
    def runnable(self) -> bool:
        """Whether nearlight can run this model on that machine now."""
        return self.reason is None

    @property
    def reason(self) -> str | None:
        """Why nearlight cannot run it there, in one sentence; None if it can."""
        if not self.fits:
            return f"it needs {memory_text(self.memory.total, 3)}, and there are {self._available}"
        return self.obstacle

    @property
    def answer(self) -> str:
        """Say in a few words whether it fits, and whether nearlight runs it."""
        if not self.fits:
            return "does not fit"
        place = "here" if self.label == "measured" else "there"
        return f"fits, and nearlight runs it {place}" if self.runnable else "would fit; nearlight cannot run it yet"

    @property
    def verdict(self) -> str:
        """Say in one line whether it fits, and what it needs."""
        need = f"needs {memory_text(self.memory.total, 3)} of {self._available}"
        what = f"{self.model} at {self.weights} with {self.context} tokens of context ({self.kv})"
        if self.fits:
            return f"{self.answer}: {what} {need}"
        most = f"at most {self.max_context} tokens fit" if self.max_context else "not even the weights fit"
        return f"{self.answer}: {what} {need}; {most}"

    @property
    def _available(self) -> str:
        origin = self.memory.origin
        return memory_text(self.memory.available, 3) + (f" {origin}" if origin else "")

    def decode_at(self, context: int) -> DecodePoint | None:
        """Return decode speed at a context, None where so many tokens do not fit.

        The token that is decoded takes a place too, so the largest context is reached with one token less in the cache.
        """
        if context > self.max_context or not self.max_context:
            return None
        time = step_time(self.costs.decode(min(context, self.max_context - 1)), self.hardware)
        return DecodePoint(context, time.total_s, 1 / time.total_s, time.bound)

    # -- what else can be asked ------------------------------------------------------------------------------------

    def users(self, promise: Promise, load: Load) -> Users:
        """Return how many users can be served at once under a promise."""
        return users_under(promise, load, self.costs, self.hardware, self.memory.room, self.chunk)

    def speculation(self, acceptance: float, draft_cost: float = 0.0) -> Speculation:
        """Return the best way to speculate at the planned context and an acceptance rate."""
        return best_speculation(self.costs, self.hardware, self.context - 1, acceptance, draft_cost)

    def thinking(self, n_prompt: int, n_tokens: int) -> Thinking:
        """Return what n_tokens of thinking after a prompt cost."""
        return thinking_cost(self.costs, self.hardware, n_prompt, n_tokens)

    def as_json(self) -> dict[str, Any]:
        """Return the object of `plan --json`. Keys may be added and are never taken away."""
        memory = self.memory
        line = self.decode_line
        return {
            "model": self.model,
            "weights": self.weights,
            "kv": self.kv,
            "convention": self.convention,
            "label": self.label,
            "params": asdict(self.params),
            "kv_bytes_per_token": self.kv_bytes_per_token,
            "fits": self.fits,
            "runnable": self.runnable,
            "reason": self.reason,
            "verdict": self.verdict,
            "advice": list(self.advice),
            "context": self.context,
            "memory": {
                "weights": memory.weights,
                "kv": memory.kv,
                "overhead": memory.overhead,
                "total": memory.total,
                "in_file": memory.in_file,
                "in_file_per_token": memory.in_file_per_token,
                "available": memory.available,
                "available_is": memory.origin or "all of the machine's",
            },
            "max_context": self.max_context,
            "prefill": asdict(self.prefill) if self.prefill else None,
            "decode": [asdict(point) for point in self.decode],
            "decode_line": {
                "first_s": line.first_s,
                "tokens_per_ms": line.tokens_per_ms if math.isfinite(line.tokens_per_ms) else None,
            }
            if line
            else None,
            "hardware": self.hardware.as_json(),
        }
