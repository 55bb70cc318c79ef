"""What a run is held against: the least time that its steps take on a machine.

The costs are those of the counted model. Decoding one row a step has almost nothing to compute per byte, so bytes over
bandwidth are its limit: that of memory, or of the processor's cache for a model that stays there (`cache` decides). A
prompt is bound by computing too, so its limit needs the machine's peaks, and is unknown where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nearlight.limits import cache as caches
from nearlight.limits.cache import Cache
from nearlight.limits.costs import Costs
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import steps_time

LEAST_TOKENS = 20
"""Shorter answers have no share of a limit: the speed of so few steps is chance. Counts tokens."""

IMPRECISION = 1.02
"""A share above this is not the probes' own imprecision."""


@dataclass(frozen=True)
class RunLimit:
    """The ceiling of a model on a machine.

    Units: bytes per second; `read_bytes_per_s` is memory's, `flops` are operations per second by data type, None where
    they were never measured. `label` says where the figures are from: "measured" on this machine. `beside` says when
    reading was probed: beside the run, or (False) at some time before, as it is on file.
    """

    costs: Costs
    read_bytes_per_s: float
    flops: Mapping[str, float] | None = None
    label: str = "measured"
    cache: Cache | None = None
    beside: bool = False

    def bytes_at(self, context: float) -> float:
        """Return the bytes that a decode step moves after `context` tokens."""
        cost = self.costs.decode(round(context))
        return cost.bytes_read + cost.bytes_written

    def reads_from(self, context: float) -> str:
        """Say whose limit holds for decoding after `context` tokens: "memory" or "cache"."""
        return caches.reads_from(self.bytes_at(context), self.cache)

    def bytes_per_s(self, context: float) -> float:
        """Return how fast decode steps after `context` tokens can be read."""
        return caches.bytes_per_s(self.bytes_at(context), self.read_bytes_per_s, self.cache)

    def bandwidth(self, source: str) -> float:
        """Return how fast memory, or the cache, is read."""
        return self.cache.bytes_per_s if source == "cache" and self.cache else self.read_bytes_per_s

    def part_in_cache(self, context: float) -> float:
        """Return the part of a decode step that is found in the cache."""
        return self.cache.part(self.bytes_at(context)) if self.cache else 0.0

    def tokens_per_s(self, context: float) -> float:
        return self.bytes_per_s(context) / self.bytes_at(context)

    def share(self, tokens_per_s: float, context: float) -> float:
        """Return the part of the limit of decoding that was reached."""
        return tokens_per_s / self.tokens_per_s(context)

    def seen_beside(self, source: str, bytes_per_s: float) -> RunLimit:
        """Return the limit with what was probed of memory, or the cache, beside the run."""
        if source == "cache" and self.cache:
            return replace(self, cache=replace(self.cache, bytes_per_s=bytes_per_s), beside=True)
        return replace(self, read_bytes_per_s=bytes_per_s, beside=True)

    def prefill_tokens_per_s(self, n_tokens: int, start: int, chunk: int) -> float | None:
        """Return how fast n_tokens of a prompt can be computed in chunks after `start` tokens; None for unknown."""
        if self.flops is None or n_tokens < 1:
            return None
        machine = Hardware(
            "this machine", "cpu", 1, self.read_bytes_per_s, self.flops, "nearlight roofline", self.label, self.cache
        )
        return n_tokens / steps_time(self.costs.prefill(n_tokens, chunk, start), machine).total_s
