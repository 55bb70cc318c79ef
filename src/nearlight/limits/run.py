"""What a run is held against: the least time that its steps take on a machine.

The costs are those of the counted model. Decoding one row a step has almost nothing to compute per byte, so bytes over
bandwidth are its limit; a prompt is bound by computing too, so its limit needs the machine's peaks, and is unknown
where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nearlight.limits.costs import Costs
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import steps_time


@dataclass(frozen=True)
class RunLimit:
    """The ceiling of a model on a machine.

    Units: bytes per second; `flops` are operations per second by data type, None where they were never measured.
    `label` says where the figures are from: "measured" on this machine.
    """

    costs: Costs
    read_bytes_per_s: float
    flops: Mapping[str, float] | None = None
    label: str = "measured"

    def bytes_at(self, context: float) -> float:
        """Return the bytes that a decode step moves after `context` tokens."""
        cost = self.costs.decode(round(context))
        return cost.bytes_read + cost.bytes_written

    def tokens_per_s(self, context: float) -> float:
        return self.read_bytes_per_s / self.bytes_at(context)

    def share(self, tokens_per_s: float, context: float) -> float:
        """Return the part of the limit of decoding that was reached; above 1 when the processor's cache is read."""
        return tokens_per_s / self.tokens_per_s(context)

    def prefill_tokens_per_s(self, n_tokens: int, start: int, chunk: int) -> float | None:
        """Return how fast n_tokens of a prompt can be computed in chunks after `start` tokens; None for unknown."""
        if self.flops is None or n_tokens < 1:
            return None
        machine = Hardware(
            "this machine", "cpu", 1, self.read_bytes_per_s, self.flops, "nearlight roofline", self.label
        )
        return n_tokens / steps_time(self.costs.prefill(n_tokens, chunk, start), machine).total_s
