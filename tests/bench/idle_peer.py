"""A peer that is done at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nearlight.bench.peers.child import serve


class Idle:
    weights, vocab_size = "w4", 9

    def __init__(self, request: dict[str, Any]) -> None: ...

    def rewind(self, n_tokens: int) -> None: ...

    def forward(self, tokens: Sequence[int]) -> None: ...


if __name__ == "__main__":
    serve(Idle)
