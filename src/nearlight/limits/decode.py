"""How fast decoding can be at most: every step reads all weights it multiplies with, and the cache it attends over.

At one row a step there is almost nothing to compute per byte, so reading bounds the time, and bytes over bandwidth
is the limit.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DecodeCost:
    """What one decode step reads. Units: bytes; `kv_bytes_per_token` for every token in the cache."""

    weight_bytes: int
    kv_bytes_per_token: int

    def bytes_at(self, context: float) -> float:
        """Return the bytes of a step that attends over `context` tokens."""
        return self.weight_bytes + self.kv_bytes_per_token * context


@dataclass(frozen=True)
class DecodeLimit:
    """The ceiling of decoding on a machine.

    `label` says where the bandwidth is from: "measured" on this machine.
    """

    cost: DecodeCost
    read_bytes_per_s: float
    label: str = "measured"

    def tokens_per_s(self, context: float) -> float:
        return self.read_bytes_per_s / self.cost.bytes_at(context)

    def share(self, tokens_per_s: float, context: float) -> float:
        """Return the part of the limit that was reached; above 1 when the model is read from the processor's cache."""
        return tokens_per_s / self.tokens_per_s(context)
