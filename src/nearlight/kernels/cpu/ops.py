"""The `Ops` of `kernels.ops` on the CPU: each op checks its operands and adds commands to the tape being recorded.

Nothing is computed here. When a program meets more rows than it has a tape for, it has its forward run once with
symbolic rows; the ops then hand back places in an arena instead of numbers. From then on the tape is replayed in one
native call a step (`program`).

A place is free again when the forward drops the activation that names it: CPython destroys an object with its last
reference, so `h = ops.add(h, x)` gives the old `h` back at once, and every layer works in the same few slots without
any analysis of lifetimes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from nearlight import _native
from nearlight.dtypes import ALL, Format
from nearlight.errors import PackageError, RequestError, ShapeError
from nearlight.formats import dequantize
from nearlight.kernels.cpu.program import CpuProgram, Recording
from nearlight.kernels.cpu.stores import CpuKVStore, CpuRecurrentStore
from nearlight.kernels.ops import Array, Frequencies, KVStore, RecurrentStore, Routing, Rows
from nearlight.machine.processor import instruction_level
from nearlight.machine.threads import default_threads
from nearlight.package.tensors import StoredTensor

_FORMAT_NUMBERS = {format: number for number, format in enumerate(ALL)}
_TILE_ROWS = 16
_PIECE_BYTES = 8 << 20
"""Of stored rows that are packed at once; then their pages are given back."""
_UNLIMITED = 2**31  # a window that sees every position

GELU_APPROXIMATIONS = ("none", "tanh")


class CpuOps:
    """Kernels in native code on `threads` threads (None: the physical cores this process may use).

    Raises: RequestError for less than one thread, or when NEARLIGHT_ISA names instructions this processor lacks.
    """

    name = "cpu"

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and not 1 <= threads <= 1024:
            raise RequestError("threads", expected="1 … 1024", found=threads)
        self.threads = default_threads() if threads is None else threads
        self.isa = instruction_level()
        try:
            self.runtime = _native.Runtime(self.threads)
        except ValueError as error:  # NEARLIGHT_PACE
            raise RequestError(str(error)) from None
        self.recording: Recording | None = None
        self.recording_lock = threading.Lock()  # held by the program whose forward is being recorded

    # -- parameters ------------------------------------------------------------------------------------------------

    def matrix(self, tensor: StoredTensor) -> _native.Matrix:
        matrix = self.empty_matrix(tensor)
        tiles = max(1, _PIECE_BYTES // (_TILE_ROWS * tensor.format.row_bytes(tensor.row_length)))
        first_row = 0
        try:
            for rows in tensor.in_pieces(tiles * _TILE_ROWS):
                matrix.fill(self.runtime, first_row, rows)
                first_row += len(rows)
        except ValueError as error:
            raise PackageError(str(error), advice="the file is damaged; fetch it again") from None
        return matrix

    def empty_matrix(self, tensor: StoredTensor) -> _native.Matrix:
        """Make the matrix that `tensor` becomes, in memory that is still to be filled."""
        if len(tensor.shape) != 2 or 0 in tensor.shape:
            raise ShapeError(tensor.name, expected="a matrix [out, in]", found=list(tensor.shape))
        return _native.Matrix(self.runtime, tensor.name, _FORMAT_NUMBERS[tensor.format], *tensor.shape)

    def table(self, tensor: StoredTensor) -> _native.StoredTable:
        if len(tensor.shape) != 2 or 0 in tensor.shape:
            raise ShapeError(tensor.name, expected="a matrix [n, width]", found=list(tensor.shape))
        return _native.StoredTable(tensor.name, _FORMAT_NUMBERS[tensor.format], tensor.row_length, tensor.read())

    def vector(self, tensor: StoredTensor) -> _native.Vector:
        values = dequantize(tensor.format, tensor.read(), tensor.row_length)
        return _native.Vector(tensor.name, np.ascontiguousarray(values, dtype=np.float32).reshape(-1))

    def kv_store(self, n_kv_heads: int, head_dim: int, format: Format) -> CpuKVStore:
        return CpuKVStore(self.runtime, n_kv_heads, head_dim, format)

    def recurrent_store(self, size: int) -> CpuRecurrentStore:
        return CpuRecurrentStore(self.runtime, size)

    def program(self, forward: Callable[[Rows], Array]) -> CpuProgram:
        return CpuProgram(self, forward)

    # -- operations ------------------------------------------------------------------------------------------------

    @property
    def _tape(self) -> _native.Tape:
        if self.recording is None:
            raise ShapeError("the cpu kernels compute only inside a program", advice="wrap the forward in ops.program")
        return self.recording.tape

    def embed(
        self, table: _native.Matrix, ids: Array, given: Array | None = None, scale: float = 1.0
    ) -> _native.Activation:
        return self._tape.embed(table, ids, given, scale)

    def look_up(self, table: _native.StoredTable, ids: Array, scale: float = 1.0) -> _native.Activation:
        return self._tape.look_up(table, ids, scale)

    def linear(
        self, x: _native.Activation, weight: _native.Matrix, bias: _native.Vector | None = None
    ) -> _native.Activation:
        n_out, n_in = weight.shape
        _expect(f"input of {weight.name}", (x.shape[0], n_in), x.shape)
        if bias is not None:
            _expect(f"bias {bias.name}", n_out, bias.size)
        return self._tape.linear(x, weight, bias)

    def rms_norm(
        self, x: _native.Activation, weight: _native.Vector | None, eps: float, n: int | None = None
    ) -> _native.Activation:
        what, n = ("rms_norm", n or 0) if weight is None else (weight.name, weight.size)
        _expect_multiple(f"input of {what}", n, x.shape[1])
        return self._tape.rms_norm(x, weight, n, eps)

    def layer_norm(
        self, x: _native.Activation, weight: _native.Vector, bias: _native.Vector, eps: float
    ) -> _native.Activation:
        _expect(f"input of {weight.name}", weight.size, x.shape[1])
        _expect(f"bias {bias.name}", weight.size, bias.size)
        return self._tape.layer_norm(x, weight, bias, eps)

    def rope_angles(self, rows: Rows, frequencies: Frequencies, magnitude: float) -> _native.Activation:
        tape = self._tape
        assert self.recording is not None
        return tape.rope_angles(rows.positions, self.recording.ask(frequencies), magnitude)

    def rope(
        self, x: _native.Activation, angles: _native.Activation, head_dim: int, *, interleaved: bool = False
    ) -> _native.Activation:
        _expect_multiple("input of rope", head_dim, x.shape[1])
        _expect("rows of the angles of rope", x.shape[0], angles.shape[0])
        if angles.shape[1] > head_dim:
            raise ShapeError("rotary dimensions", expected=f"at most {head_dim}", found=angles.shape[1])
        return self._tape.rope(x, angles, head_dim, interleaved)

    def append(self, k: _native.Activation, v: _native.Activation, store: KVStore, rows: Rows) -> None:
        store = _own(store)
        expected = (rows.positions.shape[0], store.native.n_kv_heads * store.head_dim)
        _expect("keys", expected, k.shape)
        _expect("values", expected, v.shape)
        self._tape.append(k, v, store.native)

    def attend(
        self,
        q: _native.Activation,
        store: KVStore,
        rows: Rows,
        *,
        scale: float,
        window: int | None = None,
        chunked: bool = False,
        softcap: float | None = None,
        sinks: _native.Vector | None = None,
    ) -> _native.Activation:
        store = _own(store)
        _expect("rows of the queries", rows.positions.shape[0], q.shape[0])
        _expect_multiple("queries", store.native.n_kv_heads * store.head_dim, q.shape[1])
        options = _attend_options(q.shape[1] // store.head_dim, window, chunked, softcap, sinks)
        return self._tape.attend(q, store.native, scale, *options)

    def attend_whole(
        self,
        q: _native.Activation,
        k: _native.Activation,
        v: _native.Activation,
        length: int,
        *,
        head_dim: int,
        scale: float,
        window: int | None = None,
        chunked: bool = False,
        softcap: float | None = None,
        sinks: _native.Vector | None = None,
    ) -> _native.Activation:
        _expect("values", k.shape, v.shape)
        _expect_multiple("keys", head_dim, k.shape[1])
        _expect("rows of the queries", k.shape[0], q.shape[0])
        _expect_multiple("queries", k.shape[1], q.shape[1])
        options = _attend_options(q.shape[1] // head_dim, window, chunked, softcap, sinks)
        return self._tape.attend_whole(q, k, v, length, head_dim, scale, *options)

    def causal_conv(
        self,
        x: _native.Activation,
        weight: _native.Vector,
        bias: _native.Vector | None,
        store: RecurrentStore,
        rows: Rows,
        *,
        silu: bool = True,
    ) -> _native.Activation:
        width = x.shape[1]
        _expect_multiple(f"factors of {weight.name}", width, weight.size)
        if bias is not None:
            _expect(f"bias {bias.name}", width, bias.size)
        native = _own_recurrence(store, weight.size - width)
        return self._tape.causal_conv(x, weight, bias, native, silu)

    def selective_scan(
        self,
        x: _native.Activation,
        dt: _native.Activation,
        b: _native.Activation,
        c: _native.Activation,
        a_log: _native.Vector,
        d: _native.Vector,
        dt_bias: _native.Vector | None,
        store: RecurrentStore,
        rows: Rows,
        *,
        n_heads: int,
        n_groups: int = 1,
    ) -> _native.Activation:
        n_rows, width = x.shape
        _expect_multiple("channels of a scan", n_heads, width)
        _expect_multiple("heads of a scan", n_groups, n_heads)
        _expect_multiple("inputs of the state", n_groups, b.shape[1])
        _expect("steps of a scan", (n_rows, n_heads), dt.shape)
        _expect("rows of the inputs of the state", n_rows, b.shape[0])
        _expect("outputs of the state", b.shape, c.shape)
        state_size = b.shape[1] // n_groups
        if a_log.size not in (n_heads, n_heads * state_size):
            expected = f"{n_heads}, or {n_heads * state_size}"
            raise ShapeError(f"decays {a_log.name}", expected=expected, found=a_log.size)
        for vector in (d, dt_bias) if dt_bias is not None else (d,):
            _expect(f"values of {vector.name}", n_heads, vector.size)
        native = _own_recurrence(store, width * state_size)
        return self._tape.selective_scan(x, dt, b, c, a_log, d, dt_bias, native, n_heads, n_groups)

    def l2_norm(self, x: _native.Activation, head_dim: int, eps: float) -> _native.Activation:
        _expect_multiple("input of l2_norm", head_dim, x.shape[1])
        return self._tape.l2_norm(x, head_dim, eps)

    def gated_delta_rule(
        self,
        q: _native.Activation,
        k: _native.Activation,
        v: _native.Activation,
        a: _native.Activation,
        b: _native.Activation,
        a_log: _native.Vector,
        dt_bias: _native.Vector,
        store: RecurrentStore,
        rows: Rows,
        *,
        n_key_heads: int,
        scale: float,
        tiled: bool = False,
    ) -> _native.Activation:
        n_rows, width = v.shape
        n_heads = a_log.size
        _expect("rows of the keys", n_rows, k.shape[0])
        _expect("queries", k.shape, q.shape)
        _expect_multiple("keys of a delta rule", n_key_heads, k.shape[1])
        _expect_multiple("heads of a delta rule", n_key_heads, n_heads)
        _expect_multiple("values of a delta rule", n_heads, width)
        for what, gates in (("decays", a), ("steps", b)):
            _expect(f"{what} of a delta rule", (n_rows, n_heads), gates.shape)
        _expect(f"values of {dt_bias.name}", n_heads, dt_bias.size)
        native = _own_recurrence(store, width * (k.shape[1] // n_key_heads))
        return self._tape.gated_delta_rule(q, k, v, a, b, a_log, dt_bias, native, n_key_heads, tiled, scale)

    def grouped_rms_norm(
        self, x: _native.Activation, weight: _native.Vector, eps: float, n_groups: int
    ) -> _native.Activation:
        _expect(f"input of {weight.name}", weight.size, x.shape[1])
        _expect_multiple(f"groups of {weight.name}", n_groups, x.shape[1])
        return self._tape.grouped_rms_norm(x, weight, eps, n_groups)

    def route(
        self,
        scores: _native.Activation,
        routing: Routing,
        bias: _native.Vector | None = None,
        expert_scale: _native.Vector | None = None,
    ) -> _native.Routes:
        n_experts = scores.shape[1]
        if not 1 <= routing.n_chosen <= n_experts:
            raise ShapeError("chosen experts", expected=f"1 … {n_experts}", found=routing.n_chosen)
        _expect_multiple("experts", routing.n_groups, n_experts)
        reach = routing.n_chosen_groups * (n_experts // routing.n_groups)
        if not (1 <= routing.n_chosen_groups <= routing.n_groups and routing.n_chosen <= reach):
            raise ShapeError("chosen groups of experts", expected="as many as hold the experts", found=routing)
        for vector in (bias, expert_scale):
            if vector is not None:
                _expect(f"values of {vector.name}", n_experts, vector.size)
        return self._tape.route(
            scores,
            routing.n_chosen,
            routing.normalize,
            routing.scoring == "sigmoid",
            routing.scale,
            routing.n_groups,
            routing.n_chosen_groups,
            bias,
            expert_scale,
        )

    def expert_linear(
        self,
        x: _native.Activation,
        weights: Sequence[_native.Matrix],
        routes: _native.Routes,
        bias: _native.Vector | None = None,
    ) -> _native.Activation:
        _expect("experts", routes.n_experts, len(weights))
        n_out, n_in = weights[0].shape
        if any(weight.shape != (n_out, n_in) or weight.format != weights[0].format for weight in weights):
            raise ShapeError(f"experts like {weights[0].name}", expected="one shape and format", found="several")
        if x.shape[0] != routes.pairs:
            _expect(f"rows of the input of {weights[0].name}", routes.rows, x.shape[0])
        _expect(f"width of the input of {weights[0].name}", n_in, x.shape[1])
        if bias is not None:
            _expect(f"biases {bias.name}", len(weights) * n_out, bias.size)
        return self._tape.expert_linear(x, list(weights), routes, bias)

    def weigh(self, y: _native.Activation, routes: _native.Routes) -> _native.Activation:
        _expect("pairs to weigh", routes.pairs, y.shape[0])
        return self._tape.weigh(y, routes)

    def combine(self, y: _native.Activation, routes: _native.Routes, *, weighted: bool = True) -> _native.Activation:
        _expect("pairs to combine", routes.pairs, y.shape[0])
        return self._tape.combine(y, routes, weighted)

    def swiglu(self, gate: _native.Activation, up: _native.Activation) -> _native.Activation:
        _expect("second input of swiglu", gate.shape, up.shape)
        return self._tape.swiglu(gate, up)

    def clamped_swiglu(
        self, gate: _native.Activation, up: _native.Activation, *, alpha: float, limit: float
    ) -> _native.Activation:
        _expect("second input of swiglu", gate.shape, up.shape)
        return self._tape.clamped_swiglu(gate, up, alpha, limit)

    def sigmoid_gate(self, x: _native.Activation, gate: _native.Activation) -> _native.Activation:
        _expect("gates", (x.shape[0], 1 if gate.shape[1] == 1 else x.shape[1]), gate.shape)
        return self._tape.sigmoid_gate(x, gate)

    def geglu(self, gate: _native.Activation, up: _native.Activation, approximation: str) -> _native.Activation:
        _expect("second input of geglu", gate.shape, up.shape)
        return self._tape.geglu(gate, up, _is_tanh(approximation))

    def gelu(self, x: _native.Activation, approximation: str) -> _native.Activation:
        return self._tape.gelu(x, _is_tanh(approximation))

    def squared_relu(self, x: _native.Activation) -> _native.Activation:
        return self._tape.squared_relu(x)

    def multiply(self, x: _native.Activation, y: _native.Activation) -> _native.Activation:
        _expect("second input of multiply", x.shape, y.shape)
        return self._tape.multiply(x, y)

    def add(self, x: _native.Activation, y: _native.Activation, scale: float = 1.0) -> _native.Activation:
        _expect("second input of add", x.shape, y.shape)
        return self._tape.add(x, y, scale)

    def scale(self, x: _native.Activation, factor: float | _native.Vector) -> _native.Activation:
        if isinstance(factor, _native.Vector):
            _expect(f"values of {factor.name}", 1, factor.size)
        return self._tape.scale(x, factor)

    def scale_by_position(
        self, x: _native.Activation, rows: Rows, *, strength: float, period: int, offset: int = 0
    ) -> _native.Activation:
        _expect("rows to scale by position", rows.positions.shape[0], x.shape[0])
        return self._tape.scale_by_position(x, rows.positions, strength, period, offset)

    def softcap(self, x: _native.Activation, cap: float) -> _native.Activation:
        return self._tape.softcap(x, cap)

    def take(self, x: _native.Activation, indices: Array) -> _native.Activation:
        return self._tape.take(x, indices)

    def columns(self, x: _native.Activation, first: int, width: int) -> _native.Activation:
        if not 0 <= first < first + width <= x.shape[1]:
            raise ShapeError("columns", expected=f"within {x.shape[1]}", found=[first, first + width])
        return self._tape.columns(x, first, width)

    def rows_of_logits(self, rows: Rows) -> Rows:
        tape = self._tape
        tape.use_logit_rows()
        return Rows(tape.logit_tokens, tape.logit_positions, tape.logit_sequences, None, rows.embeddings)


def _own(store: KVStore) -> CpuKVStore:
    if not isinstance(store, CpuKVStore):
        raise ShapeError("kv store", expected="one of the cpu kernels", found=type(store).__name__)
    return store


def _own_recurrence(store: RecurrentStore, size: int) -> _native.RecurrentStore:
    if not isinstance(store, CpuRecurrentStore):
        raise ShapeError("recurrent store", expected="one of the cpu kernels", found=type(store).__name__)
    _expect("values of a state", size, store.native.size)
    return store.native


def _is_tanh(approximation: str) -> bool:
    if approximation not in GELU_APPROXIMATIONS:
        raise ShapeError("gelu approximation", expected="none or tanh", found=approximation)
    return approximation == "tanh"


def _attend_options(
    n_heads: int, window: int | None, chunked: bool, softcap: float | None, sinks: _native.Vector | None
) -> tuple[int, bool, float, _native.Vector | None]:
    if window is not None and window < 1:
        raise ShapeError("attention window", expected="at least 1 token", found=window)
    if softcap is not None and not softcap > 0:
        raise ShapeError("attention softcap", expected="above 0", found=softcap)
    if sinks is not None:
        _expect(f"sinks {sinks.name}", n_heads, sinks.size)
    return min(window or _UNLIMITED, _UNLIMITED), chunked, softcap or 0.0, sinks


def _expect(what: str, expected: object, found: object) -> None:
    if expected != found:
        raise ShapeError(what, expected=expected, found=found)


def _expect_multiple(what: str, unit: int, found: int) -> None:
    if unit == 0 or found == 0 or found % unit:
        raise ShapeError(what, expected=f"a multiple of {unit}", found=found)
