"""A peer that computes nothing, and ends its process when it has been given a certain number of tokens."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from nearlight.bench.peers.child import serve


class Scripted:
    vocab_size = 9

    def __init__(self, request: dict[str, Any]) -> None:
        self.weights = request["weights"]
        self._left = request["tokens_until_exit"]
        sys.stdout.write("what a library may print\n")
        sys.stdout.flush()

    def rewind(self, n_tokens: int) -> None: ...

    def forward(self, tokens: Sequence[int]) -> None:
        if len(tokens) > 4:
            raise ValueError("more than 4 at once")
        self._left -= len(tokens)
        if self._left < 0:
            os._exit(3)


if __name__ == "__main__":
    serve(Scripted)
