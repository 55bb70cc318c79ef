"""What the arithmetic asks of a model, and of one step of it.

The counting kernels answer for any family; the "blog" convention answers from four numbers. Neither is imported here:
whatever has these members can be held against a machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Cost(Protocol):
    """A step's cost. Units: bytes of weights, keys and values; operations by data type."""

    @property
    def bytes_read(self) -> float: ...
    @property
    def bytes_written(self) -> float: ...
    @property
    def operations(self) -> Mapping[str, float]: ...


class Costs(Protocol):
    """A model in some format: what it keeps and what its steps cost.

    Units: bytes; contexts, prompts and chunks count tokens.
    """

    @property
    def weight_bytes(self) -> float:
        """All parameters."""

    def kv_bytes(self, n_tokens: int) -> float:
        """Return the bytes of one sequence's keys and values, as allocated."""

    def prefill(self, n_prompt: int, chunk: int | None = None, start: int = 0) -> Sequence[Cost]:
        """Return the steps that compute a prompt, in chunks or (None) at once."""

    def decode(self, context: int, batch: int = 1) -> Cost:
        """Return a step of one new token for each of `batch` sequences with `context` tokens cached."""

    def verify(self, context: int, n_rows: int) -> Cost:
        """Return a step of n_rows of one sequence, all of whose logits are asked for."""
