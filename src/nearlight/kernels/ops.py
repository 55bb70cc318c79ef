"""The kernel operations a model is written in: what each means, once, for every kernel set.

A model computes with these alone (those that keep something through its cache, `state/cache.py`, which hands them its
store), so the same forward can be differentiated (`reference`), executed (`cpu`) or counted (`count`). What an `Array`
or a `Weight` is belongs to the kernel set: a torch tensor, a place in a native tape, or only a shape. Models hold and
pass them, and never look inside.

A *row* is one token to compute: (token, position, sequence). A prefill chunk, a decode step, a check of drafted
tokens and a batch of many users are the same call with other rows. All activations are float32 [R, width].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from nearlight.dtypes import Format
from nearlight.package.tensors import StoredTensor

Array: TypeAlias = Any
Matrix: TypeAlias = Any
"""What the same kernel set's `matrix` gave: a `Weight`, of a class that only this kernel set knows."""
Float32 = NDArray[np.float32]


Table: TypeAlias = Any
"""What the same kernel set's `table` gave."""


class Weight(Protocol):
    """A matrix [out, in] as the kernel set keeps it."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def n_bytes(self) -> int: ...


@dataclass(frozen=True)
class Rows:
    """The tokens of one step.

    Shapes: tokens, positions, sequences [R]; logit_rows [W], the numbers of those whose logits are asked for;
    embeddings, if there are any, float32 [E, M]; lengths [R], how many tokens each row's sequence is known to have, of
    which this step may compute some (None: none after the row).
    Inside a forward the fields are `Array`s of the kernel set; outside they are lists or arrays of integers, and the
    embeddings an array of numpy's.

    The rows of one sequence are consecutive and in ascending position. A token of -1 - i is the i-th of the embeddings:
    a row that was computed elsewhere, a part of a picture, say.
    """

    tokens: Array
    positions: Array
    sequences: Array
    logit_rows: Array
    embeddings: Array | None = None
    lengths: Array | None = None


class KVStore(Protocol):
    """Keys and values of one attention layer for any number of sequences.

    Storage grows with `reserve`; what lies beyond a sequence's last written position is never read, so forgetting
    tokens is just not counting them any more.
    """

    def reserve(self, sequence: int, n_tokens: int) -> int:
        """Make room for positions 0 … n_tokens-1 of a sequence, keeping what is there.

        Return for how many tokens there is room now.
        """

    def copy(self, source: int, target: int, n_tokens: int) -> None:
        """Make the first n_tokens of `target` those of `source`."""

    def release(self, sequence: int, before: int) -> None:
        """Give back, in whole pieces of the store, positions 0 … before-1, which are never read or written again.

        To begin anew with them, free the sequence.
        """

    def clear(self, sequence: int) -> None:
        """Write zeros for all that a sequence has room for."""

    def free(self, sequence: int) -> None:
        """Release a sequence's storage; an unknown sequence is nothing to release."""

    @property
    def head_dim(self) -> int: ...

    @property
    def n_bytes(self) -> int:
        """Bytes allocated now."""

    @property
    def token_bytes(self) -> int:
        """Bytes that a token takes."""


class RecurrentStore(Protocol):
    """The state of one recurrence, float32 [size], for any number of sequences.

    A sequence has two places, 0 and 1: a step reads the one in use and writes the other, so that nothing has happened
    until that is used in its place.
    """

    def reserve(self, sequence: int) -> None:
        """Make room for a sequence; a new one's state is zeros."""

    def use(self, sequence: int, place: int) -> None:
        """Read from this place from now on. Saying it again changes nothing."""

    def copy(self, source: int, target: int) -> None:
        """Make the state of `target` that of `source`; a new target takes one place only, until it is reserved."""

    def clear(self, sequence: int) -> None:
        """Begin anew: zeros."""

    def free(self, sequence: int) -> None:
        """Release a sequence's storage; an unknown sequence is nothing to release."""

    @property
    def n_bytes(self) -> int:
        """Bytes allocated now."""


class AttendOptions(TypedDict, total=False):
    """What else `Ops.attend` and `Ops.attend_whole` may be given by a layer."""

    softcap: float | None
    sinks: Array | None


Frequencies: TypeAlias = Callable[[Sequence[int]], Float32]
"""Rotary frequencies in radians per position, for rows of sequences that have so many tokens: [rotary/2] if all have
the same, else [R, rotary/2]."""

Watch: TypeAlias = Callable[[], None]
"""Called now and then while a step is computed; what it raises ends the step."""


class Program(Protocol):
    """A forward made ready to run again and again: rows of int32 in, logits [W, V] out.

    A step that takes long lets Python act on signals (Ctrl-C) and calls `watch`, some times a second. What they raise
    is raised by the step; of its rows' keys and values in the stores, then, anything may have been written.
    """

    def __call__(self, rows: Rows, watch: Watch | None = None) -> Float32: ...


class Ops(Protocol):
    """A kernel set.

    Ops take and give float32 activations [R, width] unless they say otherwise, and raise ShapeError, naming expected
    and found sizes, when operands do not fit together.
    """

    name: str
    threads: int

    # -- parameters ------------------------------------------------------------------------------------------------

    def matrix(self, tensor: StoredTensor) -> Weight:
        """Take in a matrix [out, in] that is multiplied with, or looked up in, in its stored bits.

        Raises: PackageError for the scale of a block that is NaN or infinite. Matrices of plain floats are not looked
        through for those; NaN in them is noticed in the logits.
        """

    def table(self, tensor: StoredTensor) -> Table:
        """Take in a matrix [n, width] that only `look_up` reads: it stays where it is stored, nothing is copied."""

    def vector(self, tensor: StoredTensor) -> Array:
        """Take in a small parameter (a norm's scale, a bias) as float32 [n]."""

    def kv_store(self, n_kv_heads: int, head_dim: int, format: Format) -> KVStore:
        """Make an empty store of keys and values in F32, F16 or Q8_0.

        F16 stands for any 16 bits that lose no more: codes of 16 bits with a scale for every key and value, say. Q8_0
        stands for 8-bit codes with an f16 scale for every 32 dimensions of a key, and for every value.
        """

    def program(self, forward: Callable[[Rows], Array]) -> Program:
        """Make a forward ready to be run many times.

        The forward must be a pure function of its rows: everything else it uses (weights, stores) stays the same
        objects, so a kernel set may record the calls of the first run and replay them later.
        """

    # -- operations ------------------------------------------------------------------------------------------------

    def embed(self, table: Matrix, ids: Array, given: Array | None = None, scale: float = 1.0) -> Array:
        """Look rows up, times `scale`: ids [R], table [V, M] -> [R, M].

        With `given`, the rows' embeddings [E, M], an id of -1 - i is the i-th of these, as it is.
        """

    def look_up(self, table: Table, ids: Array, scale: float = 1.0) -> Array:
        """Look rows up where they are stored, times `scale`: ids [R], table [n, N] -> [R, N].

        An id that is none of its rows has the first, which is padding's: so have rows that are given as embeddings.
        """

    def linear(self, x: Array, weight: Matrix, bias: Array | None = None) -> Array:
        """Compute x @ weight.T + bias: x [R, K], weight [N, K], bias [N] -> [R, N]."""

    def rms_norm(self, x: Array, weight: Array | None, eps: float, n: int | None = None) -> Array:
        """Scale to unit root mean square, then by weight [n], if there is one; else `n` must be said.

        Shapes: x [R, width], width a multiple of n; every stretch of n values is a vector of its own (so heads are
        normalised with n = head_dim).
        Source: arXiv:1910.07467.
        """

    def layer_norm(self, x: Array, weight: Array, bias: Array, eps: float) -> Array:
        """Shift and scale to mean 0 and variance 1, then by weight [width] and bias [width]."""

    def rope_angles(self, rows: Rows, frequencies: Frequencies, magnitude: float) -> Array:
        """Compute cos and sin of position * frequency, each times `magnitude`, once for all layers of a step.

        `frequencies` is asked anew at each run, with the lengths of the rows' sequences: two kinds of scaling depend on
        them, dynamic and longrope.
        """

    def rope(self, x: Array, angles: Array, head_dim: int, *, interleaved: bool = False) -> Array:
        """Rotate each head's first rotary dimensions by the row's angles, the two halves forming the pairs, or
        neighbours where they are interleaved.

        Shapes: x [R, H * head_dim]; angles for rotary/2 pairs, rotary <= head_dim, the rest passes through.
        Source: arXiv:2104.09864, in the half-split order of Hugging Face.
        """

    def append(self, k: Array, v: Array, store: KVStore, rows: Rows) -> None:
        """Write the rows' keys and values at their positions. Shapes: k, v [R, K * D], of the store's K and D."""

    def attend(
        self,
        q: Array,
        store: KVStore,
        rows: Rows,
        *,
        scale: float,
        window: int | None = None,
        chunked: bool = False,
        softcap: float | None = None,
        sinks: Array | None = None,
    ) -> Array:
        """Attend causally over what a store has of each row's own sequence, the step's own rows among it.

        Shapes: q [R, H * D], H a multiple of the store's K; sinks [H]; -> [R, H * D].
        Query head h uses key head h // (H / K). A row sees the positions 0 … its own, also those of the same step;
        with a `window` only the last so many of them or, where it is `chunked`, those of its own chunk of so many. With
        `softcap` a score s becomes softcap * tanh(s / softcap).
        `sinks` are logits that take part in the heads' softmax without having a value.
        Source: arXiv:2305.13245 (grouped queries), arXiv:2004.05150 (windows), arXiv:2408.00118 (softcap),
        arXiv:2309.17453 (sinks).
        """

    def attend_whole(
        self,
        q: Array,
        k: Array,
        v: Array,
        length: int,
        *,
        head_dim: int,
        scale: float,
        window: int | None = None,
        chunked: bool = False,
        softcap: float | None = None,
        sinks: Array | None = None,
    ) -> Array:
        """Attend as `attend` does where the rows are whole sequences of `length` tokens, and keep nothing: to train."""

    def swiglu(self, gate: Array, up: Array) -> Array:
        """Compute silu(gate) * up. Source: arXiv:2002.05202."""

    def clamped_swiglu(self, gate: Array, up: Array, *, alpha: float, limit: float) -> Array:
        """Compute g * logistic(alpha * g) * (u + 1), g the gate up to `limit` and u `up` between -limit and limit.

        Source: arXiv:2508.10925.
        """

    def sigmoid_gate(self, x: Array, gate: Array) -> Array:
        """Compute x * logistic(gate). Shapes: x [R, width], gate [R, width] or, for whole rows, [R, 1]."""

    def geglu(self, gate: Array, up: Array, approximation: str) -> Array:
        """Compute gelu(gate) * up, `approximation` as in `gelu`. Source: arXiv:2002.05202."""

    def gelu(self, x: Array, approximation: str) -> Array:
        """Compute GELU, `approximation` "none" (erf) or "tanh". Source: arXiv:1606.08415."""

    def squared_relu(self, x: Array) -> Array:
        """Compute max(x, 0) squared. Source: arXiv:2109.08668."""

    def multiply(self, x: Array, y: Array) -> Array:
        """Compute x * y, of equal shape."""

    def add(self, x: Array, y: Array, scale: float = 1.0) -> Array:
        """Compute x + scale * y, of equal shape."""

    def scale(self, x: Array, factor: float | Array) -> Array:
        """Multiply all values by a factor: a number, or a vector of one."""

    def scale_by_position(self, x: Array, rows: Rows, *, strength: float, period: int, offset: int = 0) -> Array:
        """Multiply a row by 1 + strength * log(1 + (position + offset) // period), so that many scores stay sharp.

        Source: arXiv:2501.19399, in the steps of Llama 4.
        """

    def softcap(self, x: Array, cap: float) -> Array:
        """Compute cap * tanh(x / cap). Source: arXiv:2408.00118."""

    def take(self, x: Array, indices: Array) -> Array:
        """Pick rows: x [R, width], indices [W] -> [W, width]."""

    def columns(self, x: Array, first: int, width: int) -> Array:
        """Pick the values first … first + width - 1 of every row: x [R, …] -> [R, width]."""

    def rows_of_logits(self, rows: Rows) -> Rows:
        """Pick the rows whose logits are asked for, to go on with these alone: for layers that only attend.

        They must be asked for in the order of the rows. All are logit rows then, and `logit_rows` is None.
        """


EXTRA_OPS: dict[str, frozenset[str]] = {
    "cpu": frozenset({"experts", "recurrences"}),
    "reference": frozenset({"experts", "recurrences"}),
    "count": frozenset({"experts", "recurrences"}),
}
"""What each kernel set, by name, has beyond `Ops`: the ops of `ExpertOps`, of `RecurrentOps`."""


@dataclass(frozen=True)
class Routing:
    """How a router turns scores into choices and weights.

    Of the softmax of all scores, or of the sigmoid of each, the `n_chosen` highest are chosen; with `normalize` their
    weights are divided by their sum. Last they are multiplied by `scale`. Where the experts are in several groups, only
    those in the `n_chosen_groups` with the highest sum of their two best can be chosen.
    Source: arXiv:1701.06538 (softmax), arXiv:2412.19437 (sigmoid, groups).
    """

    n_chosen: int
    normalize: bool
    scoring: Literal["softmax", "sigmoid"] = "softmax"
    scale: float = 1.0
    n_groups: int = 1
    n_chosen_groups: int = 1


Routes: TypeAlias = Any
"""What the same kernel set's `route` gave: for every row its experts and their weights."""


class ExpertOps(Ops, Protocol):
    """A kernel set that also has mixtures of experts.

    A row and one of its experts are a *pair*. With k experts a row, R rows make k * R pairs; in which order they lie is
    the kernel set's business, so that what lies pair by pair meets ops on single values, `expert_linear`, `weigh` and
    `combine`.
    """

    def route(
        self, scores: Array, routing: Routing, bias: Array | None = None, expert_scale: Array | None = None
    ) -> Routes:
        """Choose the experts of every row by its scores [R, E].

        `bias` [E] is added to what is chosen by, and not to the weights; these are multiplied by `expert_scale` [E].
        """

    def expert_linear(self, x: Array, weights: Sequence[Matrix], routes: Routes, bias: Array | None = None) -> Array:
        """Multiply every pair by its expert's matrix.

        Shapes: x [R, K], every row for all of its experts, or [k * R, K], pair by pair; weights E of [N, K], bias
        [E * N] -> [k * R, N].
        """

    def weigh(self, y: Array, routes: Routes) -> Array:
        """Multiply every pair by its weight: y [k * R, N]."""

    def combine(self, y: Array, routes: Routes, *, weighted: bool = True) -> Array:
        """Sum each row's pairs, weighted or as they are: y [k * R, N] -> [R, N]."""


class RecurrentOps(Ops, Protocol):
    """A kernel set that also has recurrences: what state space models and linear attention need.

    Their ops read a sequence's state, take its rows of the step one after the other, and write the state after the last
    of them beside the one they read (`RecurrentStore`).
    """

    def recurrent_store(self, size: int) -> RecurrentStore:
        """Make an empty store of states of `size` float32 values."""

    def causal_conv(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        store: RecurrentStore,
        rows: Rows,
        *,
        silu: bool = True,
    ) -> Array:
        """Convolve every channel with its own kernel over its sequence's last inputs, then apply SiLU if `silu`.

        Shapes: x [R, C], weight [C * K] (a channel's K factors side by side, the last for the row itself), bias [C] ->
        [R, C]; the state holds the K - 1 inputs before, [K - 1, C].
        """

    def grouped_rms_norm(self, x: Array, weight: Array, eps: float, n_groups: int) -> Array:
        """Scale every one of n_groups parts of a row to unit root mean square, then the row by weight [width]."""

    def selective_scan(
        self,
        x: Array,
        dt: Array,
        b: Array,
        c: Array,
        a_log: Array,
        d: Array,
        dt_bias: Array | None,
        store: RecurrentStore,
        rows: Rows,
        *,
        n_heads: int,
        n_groups: int = 1,
    ) -> Array:
        """Advance the linear recurrence of Mamba, row by row of a sequence.

        With s = softplus(dt + dt_bias) of a head and A = -exp(a_log), the head's state [P, N] becomes
        exp(s A) * state + s * x b^T, and gives y = state c + d x.
        Shapes: x [R, H * P], dt [R, H], b and c [R, G * N], head h using group h // (H / G); a_log [H * N], or [H]
        where a head has one A; d and dt_bias [H]; -> [R, H * P]. The state is [H, P, N].
        Source: arXiv:2312.00752 (Mamba: heads of one value), arXiv:2405.21060 (Mamba-2).
        """

    def l2_norm(self, x: Array, head_dim: int, eps: float) -> Array:
        """Divide every head by the root of the sum of its squares and eps. Shapes: x [R, H * head_dim]."""

    def gated_delta_rule(
        self,
        q: Array,
        k: Array,
        v: Array,
        a: Array,
        b: Array,
        a_log: Array,
        dt_bias: Array,
        store: RecurrentStore,
        rows: Rows,
        *,
        n_key_heads: int,
        scale: float,
        tiled: bool = False,
    ) -> Array:
        """Advance the linear recurrence of gated DeltaNet, row by row of a sequence.

        With g = exp(-exp(a_log) softplus(a + dt_bias)) and s = logistic(b) of a head, its state S [D, E] becomes
        g S + k (s (v - (g S)^T k))^T, and gives scale S^T q. So what it recalls for a key moves towards the value.
        Shapes: q and k [R, K * D]; v [R, H * E]; a and b [R, H]; a_log and dt_bias [H]; -> [R, H * E]. Head h uses key
        head h // (H / K) or, where they are `tiled`, h % K. The state is [H, D, E].
        Source: arXiv:2412.06464.
        """


class HybridOps(ExpertOps, RecurrentOps, Protocol):
    """A kernel set that has both."""
