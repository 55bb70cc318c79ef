"""What layers keep between steps, for any number of sequences: keys and values of every token, recurrences.

A sequence is a number. The cache keeps how many tokens of each it holds; the kernel set's stores keep the bytes.
Forgetting the last tokens of keys and values costs nothing (they are just no longer counted). A recurrence cannot be
unwound: it goes back to where a step began, or to a copy, and what lies between is computed again. Reusing a
conversation, undoing a step and rejecting drafted tokens are made of that.

Layers with a sliding window give back what it has left behind, except as much as somebody may want to go back by: where
a longer answer than that is taken back, its conversation is computed again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol, Unpack, cast

from nearlight.dtypes import F16, Format
from nearlight.errors import RequestError, UnsupportedError
from nearlight.kernels.ops import (
    Array,
    AttendOptions,
    KVStore,
    Ops,
    RecurrentOps,
    RecurrentStore,
    Rows,
)

_KEPT_SNAPSHOTS = 4
"""Copies of a sequence's recurrences: the ends of the last prompts, and of what they had in common."""

_KEPT_BEHIND = 4096
"""Tokens that a sequence can go back by, at least, where windows give back what they do not see."""

_STRIDE = 256
"""Tokens that are given back together."""


@dataclass(frozen=True, eq=False)
class KVState:
    """What an attention layer declares to keep of every token; layers that hold the same one share it.

    With a `window` a token is no longer seen by the rows so many tokens behind it or, where it is `chunked`, by those
    behind its chunk of so many.
    """

    n_kv_heads: int
    head_dim: int
    window: int | None = None
    chunked: bool = False


@dataclass(frozen=True, eq=False)
class RecurrentState:
    """What a recurrence declares to keep of a sequence, however long. Units: `size` counts float32 values."""

    size: int


class LayerCache(Protocol):
    """What layers ask of a cache."""

    def append(self, kv: KVState, k: Array, v: Array, rows: Rows) -> None:
        """Write the rows' keys and values, as `Ops.append` does."""

    def attend(self, kv: KVState, q: Array, rows: Rows, *, scale: float, **options: Unpack[AttendOptions]) -> Array:
        """Attend over what was appended, within the state's window, as `Ops.attend` does; options are those there."""

    def recurrent(self, state: RecurrentState) -> RecurrentStore:
        """Return the store of a recurrence, for the ops that advance it."""


@dataclass(frozen=True)
class _Done:
    """How far a sequence is computed, in which place its recurrences are then, and from where the last step went on, if
    that can still be undone. One value, so that whatever interrupts finds all of it new or all of it old."""

    computed: int = 0
    place: int = 0
    before: int | None = None


@dataclass
class _Held:
    """A sequence: the tokens counted, those computed, and copies of its recurrences, numbered as sequences are, by how
    many tokens they have seen. What windows see of less than `floor` tokens may have been given back."""

    length: int = 0
    floor: int = 0
    done: _Done = _Done()
    snapshots: dict[int, int] = field(default_factory=dict)


class Cache:
    """What layers keep between steps, for any number of sequences.

    Of a token counted by `extend`, keys and values are written by the step that follows, which `commit` ends.
    """

    def __init__(self, ops: Ops, states: Iterable[KVState | RecurrentState], format: Format = F16) -> None:
        self.ops = ops
        self.format = format
        self._stores: dict[KVState, KVStore] = {}
        self._recurrences: dict[RecurrentState, RecurrentStore] = {}
        for state in states:
            if isinstance(state, KVState):
                self._stores[state] = ops.kv_store(state.n_kv_heads, state.head_dim, format)
            else:
                self._recurrences[state] = cast(RecurrentOps, ops).recurrent_store(state.size)
        self._held: dict[int, _Held] = {}
        self._snapshots: set[int] = set()
        self._rooms: dict[int, int] = {}  # for how many tokens all stores have room
        self._next = 0

    # -- what layers call ------------------------------------------------------------------------------------------

    def append(self, kv: KVState, k: Array, v: Array, rows: Rows) -> None:
        self.ops.append(k, v, self._stores[kv], rows)

    def attend(self, kv: KVState, q: Array, rows: Rows, *, scale: float, **options: Unpack[AttendOptions]) -> Array:
        store = self._stores[kv]
        return self.ops.attend(q, store, rows, scale=scale, window=kv.window, chunked=kv.chunked, **options)

    def recurrent(self, state: RecurrentState) -> RecurrentStore:
        return self._recurrences[state]

    # -- what the engine calls -------------------------------------------------------------------------------------

    def open(self) -> int:
        """Start an empty sequence and return its number. Numbers of closed sequences are given out again."""
        sequence = self._new_number()
        self._held[sequence] = _Held()
        return sequence

    def close(self, sequence: int) -> None:
        """Forget a sequence and release its storage."""
        held = self._find(sequence)
        for store in self.stores:
            store.free(sequence)
        for recurrence in self._recurrences.values():
            recurrence.free(sequence)
        for length in list(held.snapshots):
            self._drop_snapshot(held, length)
        self._rooms.pop(sequence, None)
        del self._held[sequence]

    def length(self, sequence: int) -> int:
        """Return how many tokens of a sequence are held. Raises: RequestError when it is not open."""
        return self._find(sequence).length

    def extend(self, sequence: int, n_tokens: int) -> None:
        """Count n_tokens more, making room for them; the step that follows fills them."""
        held = self._find(sequence)
        if held.floor > held.length:
            self._begin_windows(sequence, held)
        length = held.length + n_tokens
        if length > self._rooms.get(sequence, -1):  # also for none: a recurrence has a state then
            self._rooms[sequence] = min((store.reserve(sequence, length) for store in self.stores), default=1 << 62)
            for recurrence in self._recurrences.values():
                recurrence.reserve(sequence)
        held.length = length
        held.done = replace(held.done, before=None)  # the step will write where the state before the last one is
        self._point(sequence, held)

    def commit(self, sequence: int, *, comes_back: bool = True) -> None:
        """Take in what a step computed: everything counted is there now.

        Recurrences are copied where a sequence `comes_back`: where a prompt ends, or what the next one begins with.
        """
        held = self._find(sequence)
        held.done = _Done(held.length, 1 - held.done.place, before=held.done.computed)
        if self._recurrences and comes_back and held.length > 1:  # one token is as soon computed as copied
            self._take_snapshot(sequence, held)
        self._give_back(sequence, held)

    def settle(self, sequence: int, length: int) -> int:
        """Forget what was counted and not computed, and all but the first `length` tokens if there are more; return how
        many are left, as `truncate` does.
        """
        return self.truncate(sequence, min(length, self._find(sequence).length))

    def truncate(self, sequence: int, length: int) -> int:
        """Forget all but the first `length` tokens, and what was counted and not computed; return how many are left.

        Keys and values are there, behind a window those of the last 4096 tokens. A recurrence returns to where the last
        step began, or to its latest copy from not after `length`. Where that leaves fewer tokens, the others are to be
        computed again.
        """
        held = self._find(sequence)
        if not 0 <= length <= held.length:
            raise RequestError("length to keep", expected=f"0 … {held.length}", found=length)
        left = min(length, held.done.computed)
        if self._recurrences and left < held.done.computed:
            held.done = self._go_back(sequence, held, left)
            left = held.done.computed
        if left < held.floor:
            held.done = self._go_back(sequence, held, 0) if self._recurrences else _Done()
            left = 0
        held.length, held.done = left, replace(held.done, computed=left)
        for seen in [seen for seen in held.snapshots if seen > left]:
            self._drop_snapshot(held, seen)
        return left

    def hold(self, sequence: int, n_tokens: int) -> None:
        """Count n_tokens of an empty sequence without computing them: it holds zeros, and can come back to there."""
        if not n_tokens:  # there is no room for recurrences yet
            return
        self.extend(sequence, n_tokens)
        for store in self.stores:
            store.clear(sequence)
        held = self._find(sequence)
        held.done = replace(held.done, computed=held.length)
        if self._recurrences:
            self._take_snapshot(sequence, held)
        self._give_back(sequence, held)

    def fork(self, sequence: int) -> int:
        """Copy a sequence as far as it is computed, for another continuation; return the copy's number."""
        held = self._find(sequence)
        computed, target = held.done.computed, self.open()
        if not computed:
            return target
        try:
            self._point(sequence, held)
            for store in self.stores:
                store.copy(sequence, target, computed)
            for recurrence in self._recurrences.values():
                recurrence.copy(sequence, target)
        except BaseException:
            self.close(target)
            raise
        self._held[target] = _Held(computed, held.floor, _Done(computed))
        return target

    @property
    def stores(self) -> Collection[KVStore]:
        """Of keys and values, in the order in which they were declared."""
        return self._stores.values()

    @property
    def has_recurrences(self) -> bool:
        """Whether going back by some tokens is more than counting fewer."""
        return bool(self._recurrences)

    @property
    def bytes_per_token(self) -> int:
        return sum(store.token_bytes for store in self.stores)

    @property
    def n_bytes(self) -> int:
        kept = sum(store.n_bytes for store in self.stores)
        return kept + sum(recurrence.n_bytes for recurrence in self._recurrences.values())

    # -- windows ---------------------------------------------------------------------------------------------------

    def _windows(self) -> Iterator[tuple[int, KVStore]]:
        return ((state.window, store) for state, store in self._stores.items() if state.window is not None)

    def _give_back(self, sequence: int, held: _Held) -> None:
        """Release what no window sees, not even of a sequence that has gone back by as much as is kept."""
        floor = (held.done.computed - _KEPT_BEHIND) // _STRIDE * _STRIDE
        if floor <= max(held.floor, min((window for window, _ in self._windows()), default=floor)):
            return
        held.floor = floor  # first: who is interrupted here has lost no more than he may
        for window, store in self._windows():
            store.release(sequence, max(floor - window, 0))

    def _begin_windows(self, sequence: int, held: _Held) -> None:
        """Make room for an emptied sequence where some was given back; interrupted, it is done again."""
        for _, store in self._windows():
            store.free(sequence)
        self._rooms.pop(sequence, None)
        held.floor = 0

    # -- going back ------------------------------------------------------------------------------------------------

    def _point(self, sequence: int, held: _Held) -> None:
        """Have all recurrences read the place in use; a loop that is interrupted is gone through again."""
        for recurrence in self._recurrences.values():
            recurrence.use(sequence, held.done.place)

    def _go_back(self, sequence: int, held: _Held, length: int) -> _Done:
        """Make recurrences those of `length` tokens or, where no copy is, of fewer; return how far they are.

        The place in use stays as it is until that is taken for done: who is interrupted here has lost nothing.
        """
        best, other = max((seen for seen in held.snapshots if seen <= length), default=0), 1 - held.done.place
        if held.done.before is not None and best <= held.done.before <= length:
            return _Done(held.done.before, other)
        held.done = replace(held.done, before=None)
        for recurrence in self._recurrences.values():
            recurrence.reserve(sequence)  # a copy has one place only
            recurrence.use(sequence, other)
            if best:
                recurrence.copy(held.snapshots[best], sequence)
            else:
                recurrence.clear(sequence)
        return _Done(best, other)

    def _take_snapshot(self, sequence: int, held: _Held) -> None:
        self._point(sequence, held)
        number = self._new_number()
        self._snapshots.add(number)
        try:
            for recurrence in self._recurrences.values():
                recurrence.copy(sequence, number)
        except BaseException:
            self._free_snapshot(number)
            raise
        held.snapshots[held.done.computed] = number  # not before it is whole
        if len(held.snapshots) > _KEPT_SNAPSHOTS:
            self._drop_snapshot(held, min(held.snapshots))

    def _drop_snapshot(self, held: _Held, length: int) -> None:
        self._free_snapshot(held.snapshots.pop(length))

    def _free_snapshot(self, number: int) -> None:
        for recurrence in self._recurrences.values():
            recurrence.free(number)
        self._snapshots.discard(number)

    def _new_number(self) -> int:
        taken = self._held.keys() | self._snapshots
        number = next((n for n in range(self._next) if n not in taken), self._next)
        self._next = max(self._next, number + 1)
        return number

    def _find(self, sequence: int) -> _Held:
        if sequence not in self._held:
            raise RequestError("sequence", expected=f"one of {sorted(self._held)}", found=sequence)
        return self._held[sequence]


class NoCache:
    """Stands in for a cache where whole sequences are computed at once and nothing is kept: in training."""

    def __init__(self, ops: Ops, length: int) -> None:
        self.ops = ops
        self.length = length
        self._appended: dict[KVState, tuple[Array, Array]] = {}

    def append(self, kv: KVState, k: Array, v: Array, rows: Rows) -> None:
        self._appended[kv] = k, v

    def attend(self, kv: KVState, q: Array, rows: Rows, *, scale: float, **options: Unpack[AttendOptions]) -> Array:
        k, v = self._appended[kv]
        return self.ops.attend_whole(
            q,
            k,
            v,
            self.length,
            head_dim=kv.head_dim,
            scale=scale,
            window=kv.window,
            chunked=kv.chunked,
            **options,
        )

    def recurrent(self, state: RecurrentState) -> RecurrentStore:
        raise UnsupportedError("a recurrence without a state", advice="compute it with a Cache")
