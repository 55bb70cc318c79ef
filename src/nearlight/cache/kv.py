"""The KV cache: keys and values of every layer, for any number of sequences.

A sequence is a number. The cache keeps how many tokens of each it holds; the kernel set's stores keep the bytes.
Forgetting the last tokens costs nothing (they are just no longer counted), which is what reusing a conversation,
rejecting a draft and restoring a saved state are made of.

Layers with a sliding window keep whole sequences too. Tokens behind the window are not read, but going back to an
earlier length may bring them into view again, and nothing here knows how far back its users will go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol, Unpack

from nearlight.dtypes import F16, Format
from nearlight.errors import RequestError
from nearlight.kernels.ops import Array, AttendOptions, KVStore, Ops, Rows, WholeSequences


@dataclass(frozen=True, eq=False)
class KVState:
    """What an attention layer declares to keep of every token; layers that hold the same one share it."""

    n_kv_heads: int
    head_dim: int


class AttentionCache(Protocol):
    """What an attention layer asks of a cache."""

    def attend(
        self, kv: KVState, q: Array, k: Array, v: Array, rows: Rows, *, scale: float, **options: Unpack[AttendOptions]
    ) -> Array:
        """Attend as `Ops.attend` does, with this state's keys and values; the other options are those there."""


class KVCache:
    """Keys and values per layer, lengths per sequence."""

    def __init__(self, ops: Ops, states: Iterable[KVState], format: Format = F16) -> None:
        self.ops = ops
        self.format = format
        self._stores = {state: ops.kv_store(state.n_kv_heads, state.head_dim, format) for state in states}
        self._lengths: dict[int, int] = {}
        self._rooms: dict[int, int] = {}  # for how many tokens all stores have room
        self._next = 0

    # -- what layers call ------------------------------------------------------------------------------------------

    def attend(
        self, kv: KVState, q: Array, k: Array, v: Array, rows: Rows, *, scale: float, **options: Unpack[AttendOptions]
    ) -> Array:
        """Keep the rows' keys and values in this state's store and attend over them; see `Ops.attend`."""
        return self.ops.attend(q, k, v, self._stores[kv], rows, head_dim=kv.head_dim, scale=scale, **options)

    # -- what the engine calls -------------------------------------------------------------------------------------

    def open(self) -> int:
        """Start an empty sequence and return its number. Numbers of closed sequences are given out again."""
        sequence = next((n for n in range(self._next) if n not in self._lengths), self._next)
        self._next = max(self._next, sequence + 1)
        self._lengths[sequence] = 0
        return sequence

    def close(self, sequence: int) -> None:
        """Forget a sequence and release its storage."""
        self.length(sequence)
        for store in self.stores:
            store.free(sequence)
        self._rooms.pop(sequence, None)
        del self._lengths[sequence]

    def length(self, sequence: int) -> int:
        """Return how many tokens of a sequence are held. Raises: RequestError when it is not open."""
        if sequence not in self._lengths:
            raise RequestError("sequence", expected=f"one of {sorted(self._lengths)}", found=sequence)
        return self._lengths[sequence]

    def extend(self, sequence: int, n_tokens: int) -> None:
        """Count n_tokens more, making room for them; the step that follows fills them."""
        length = self.length(sequence) + n_tokens
        if length > self._rooms.get(sequence, 0):
            self._rooms[sequence] = min((store.reserve(sequence, length) for store in self.stores), default=length)
        self._lengths[sequence] = length

    def hold(self, sequence: int, n_tokens: int) -> None:
        """Count n_tokens of an empty sequence without computing them: it holds zeros."""
        self.extend(sequence, n_tokens)
        for store in self.stores:
            store.clear(sequence)

    def truncate(self, sequence: int, length: int) -> None:
        """Forget all but the first `length` tokens."""
        held = self.length(sequence)
        if not 0 <= length <= held:
            raise RequestError("length to keep", expected=f"0 … {held}", found=length)
        self._lengths[sequence] = length

    def fork(self, sequence: int) -> int:
        """Copy a sequence, as a snapshot to come back to or as another continuation of the same prompt."""
        length = self.length(sequence)
        target = self.open()
        for store in self.stores:
            if length:
                store.copy(sequence, target, length)
        self._lengths[target] = length
        return target

    @property
    def stores(self) -> Collection[KVStore]:
        """One for each state, in the order in which they were declared."""
        return self._stores.values()

    @property
    def bytes_per_token(self) -> int:
        return sum(store.token_bytes for store in self.stores)

    @property
    def n_bytes(self) -> int:
        return sum(store.n_bytes for store in self.stores)


class NoCache:
    """Stands in for a cache where whole sequences are computed at once and nothing is kept: in training."""

    def __init__(self, ops: Ops, length: int) -> None:
        self.ops = ops
        self.whole = WholeSequences(length)

    def attend(
        self, kv: KVState, q: Array, k: Array, v: Array, rows: Rows, *, scale: float, **options: Unpack[AttendOptions]
    ) -> Array:
        return self.ops.attend(q, k, v, self.whole, rows, head_dim=kv.head_dim, scale=scale, **options)
