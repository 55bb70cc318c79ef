"""A machine and a model in round numbers, for calculations by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nearlight.limits.hardware import Hardware

MACHINE = Hardware("round", "gpu", 1e12, 100e9, {"fp32": 1e12, "bf16": 2e12}, "by hand")


@dataclass(frozen=True)
class Work:
    """A cost in plain numbers."""

    bytes_read: float
    bytes_written: float = 0
    operations: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LinearCosts:
    """A model of 10 GB, 1 MB of cache and 20 G operations a token, whose attention costs no operations."""

    weight_bytes: float = 10e9
    kv_token_bytes: float = 1e6
    token_operations: float = 20e9

    def kv_bytes(self, n_tokens: int) -> float:
        return n_tokens * self.kv_token_bytes

    def _step(self, n_rows: int, cached: int) -> Work:
        read = self.weight_bytes + cached * self.kv_token_bytes
        return Work(read, 0, {"fp32": n_rows * self.token_operations})

    def prefill(self, n_prompt: int, chunk: int | None = None, start: int = 0) -> list[Work]:
        chunk = chunk or n_prompt
        return [self._step(min(chunk, n_prompt - at), 0) for at in range(0, n_prompt, chunk)]

    def decode(self, context: int, batch: int = 1) -> Work:
        return self._step(batch, batch * context)

    def verify(self, context: int, n_rows: int) -> Work:
        return self._step(n_rows, context)
