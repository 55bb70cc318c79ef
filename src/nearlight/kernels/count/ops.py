"""The `Ops` of `kernels.ops` that count: each op checks its operands' shapes and adds its cost to the step's.

The limit of a step is thereby read off the very code that executes it. Parameters are never read, so a model of any
size is counted in milliseconds; rows are real (which positions of which sequences decides what attention costs),
activations are shapes.

Only sums that grow with the model are meant to be exact: products, attention, what is read. Operations on single values
are counted at the rates below, which vanish beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nearlight.dtypes import F32, Format
from nearlight.errors import ShapeError
from nearlight.kernels.count.activation import Activation, Room
from nearlight.kernels.count.cost import OpCost, StepCost
from nearlight.kernels.count.operands import (
    CountedKVStore,
    CountedRecurrentStore,
    CountedRoutes,
    CountedTable,
    CountedVector,
    CountedWeight,
)
from nearlight.kernels.count.rows import Visible
from nearlight.kernels.count.target import ACCELERATOR, Target
from nearlight.kernels.ops import Array, Float32, Frequencies, KVStore, Program, Routing, Rows, Watch
from nearlight.package.tensors import StoredTensor

NORM_OPERATIONS, ROPE_OPERATIONS, ACTIVATION_OPERATIONS, SOFTMAX_OPERATIONS = 4, 3, 8, 4
"""For every value: of a norm, a rotation, SwiGLU or GELU, and for every score of attention."""


class CountOps:
    """Counts for the kernels that `target` describes. `cost` takes what is counted, `room` the activations."""

    name = "count"
    threads = 1

    def __init__(self, target: Target = ACCELERATOR) -> None:
        self.target = target
        self.cost = StepCost()
        self.room = Room()
        self._visible: tuple[Rows, Visible] | None = None

    def count(self, forward: Callable[[Rows], Array], rows: Rows) -> StepCost:
        """Run a forward on rows of integers and return what that costs; `room` then knows the activations' peak."""
        self.cost, self.room = StepCost(), Room()
        forward(rows)
        return self.cost

    # -- parameters ------------------------------------------------------------------------------------------------

    def matrix(self, tensor: StoredTensor) -> CountedWeight:
        return CountedWeight(tensor, self.target)

    def table(self, tensor: StoredTensor) -> CountedTable:
        return CountedTable(tensor)

    def vector(self, tensor: StoredTensor) -> CountedVector:
        return CountedVector(tensor)

    def kv_store(self, n_kv_heads: int, head_dim: int, format: Format) -> CountedKVStore:
        return CountedKVStore(n_kv_heads, head_dim, format, self.target)

    def recurrent_store(self, size: int) -> CountedRecurrentStore:
        return CountedRecurrentStore(size)

    def program(self, forward: Callable[[Rows], Array]) -> Program:
        """Make a program that adds its steps to `cost` and returns zeros, so that an engine can run on counts."""

        def run(rows: Rows, watch: Watch | None = None) -> Float32:
            return np.broadcast_to(np.float32(0), forward(rows).shape)

        return run

    # -- operations ------------------------------------------------------------------------------------------------

    def embed(self, table: CountedWeight, ids: Array, given: Array | None = None, scale: float = 1.0) -> Activation:
        """Count the rows that are looked up, not the table."""
        width = table.shape[1]
        if given is not None:
            _expect("width of the embeddings", width, given.shape[1])
        n_bytes = int(np.count_nonzero(np.asarray(ids) >= 0)) * table.format.row_bytes(width)
        return self._result("embed", len(ids), width, name=table.name, weight_bytes=n_bytes)

    def look_up(self, table: CountedTable, ids: Array, scale: float = 1.0) -> Activation:
        n_bytes = len(ids) * table.row_bytes
        return self._result("look_up", len(ids), table.width, name=table.name, file_bytes=n_bytes)

    def linear(self, x: Activation, weight: CountedWeight, bias: CountedVector | None = None) -> Activation:
        n_out, n_in = weight.shape
        _expect(f"input of {weight.name}", (x.rows, n_in), x.shape)
        operations = 2 * x.rows * n_out * n_in
        read = weight.n_bytes
        if bias is not None:
            _expect(f"bias {bias.name}", n_out, bias.size)
            operations += x.rows * n_out
            read += bias.n_bytes
        if x.rows == 0:  # no logits are wanted of this step
            read = 0
        result = self._result(
            "linear", x.rows, n_out, x, name=weight.name, weight_bytes=read, operations={weight.data_type: operations}
        )
        x.quantize(weight.format, self.target.quantized_bytes(weight.format, x.rows, n_in))
        return result

    def rms_norm(self, x: Activation, weight: CountedVector | None, eps: float, n: int | None = None) -> Activation:
        if weight is None:
            _expect_multiple("input of rms_norm", n or 0, x.width)
            return self._by_value("rms_norm", NORM_OPERATIONS, x)
        _expect_multiple(f"input of {weight.name}", weight.size, x.width)
        return self._by_value("rms_norm", NORM_OPERATIONS, x, name=weight.name, weight_bytes=weight.n_bytes)

    def layer_norm(self, x: Activation, weight: CountedVector, bias: CountedVector, eps: float) -> Activation:
        _expect(f"input of {weight.name}", weight.size, x.width)
        _expect(f"bias {bias.name}", weight.size, bias.size)
        read = weight.n_bytes + bias.n_bytes
        return self._by_value("layer_norm", 2 * NORM_OPERATIONS, x, name=weight.name, weight_bytes=read)

    def rope_angles(self, rows: Rows, frequencies: Frequencies, magnitude: float) -> Activation:
        return self._result("rope_angles", len(rows.positions), 2 * frequencies([1]).shape[-1])

    def rope(self, x: Activation, angles: Activation, head_dim: int, *, interleaved: bool = False) -> Activation:
        _expect_multiple("input of rope", head_dim, x.width)
        _expect("rows of the angles of rope", x.rows, angles.rows)
        if angles.width > head_dim:
            raise ShapeError("rotary dimensions", expected=f"at most {head_dim}", found=angles.width)
        return self._by_value("rope", ROPE_OPERATIONS, x)

    def append(self, k: Activation, v: Activation, store: KVStore, rows: Rows) -> None:
        assert isinstance(store, CountedKVStore)
        n_rows = len(rows.positions)
        for what, values in (("keys", k), ("values", v)):
            _expect(what, (n_rows, store.n_kv_heads * store.head_dim), values.shape)
        moved = k.n_bytes + v.n_bytes
        self.cost.add(OpCost("append", "append", kv_written_bytes=n_rows * store.token_bytes, activation_bytes=moved))

    def attend(
        self,
        q: Activation,
        store: KVStore,
        rows: Rows,
        *,
        scale: float,
        window: int | None = None,
        chunked: bool = False,
        softcap: float | None = None,
        sinks: CountedVector | None = None,
    ) -> Activation:
        """Count the keys and values of every visible token, read once, and both products."""
        assert isinstance(store, CountedKVStore)
        n_rows, head_dim = len(rows.positions), store.head_dim
        _expect("rows of the queries", n_rows, q.rows)
        _expect_multiple("queries", store.n_kv_heads * head_dim, q.width)
        n_heads = q.width // head_dim
        if sinks is not None:
            _expect(f"sinks {sinks.name}", n_heads, sinks.size)
        visible = self._visible_to(rows)
        pairs = visible.pairs(window, chunked)
        products = store.operations.items()
        result = self._result(
            "attend",
            n_rows,
            q.width,
            q,
            weight_bytes=sinks.n_bytes if sinks else 0,
            kv_read_bytes=visible.tokens(window, chunked) * store.token_bytes,
            operations=Counter({data_type: n * pairs * n_heads * head_dim for data_type, n in products})
            + Counter({"fp32": SOFTMAX_OPERATIONS * pairs * n_heads}),
        )
        scratch = self.target.attention_scratch_bytes(n_rows, n_heads // store.n_kv_heads, head_dim)
        if scratch and n_rows:
            self.room.give_back(self.room.take(scratch))
        return result

    def attend_whole(
        self, q: Activation, k: Activation, v: Activation, length: int, *, head_dim: int, scale: float, **options: Any
    ) -> Activation:
        """Count sequences of `length` rows whose keys and values are kept in float32 for the step."""
        row = np.arange(k.rows)
        rows = Rows(row, row % length, row // length, row)
        store = self.kv_store(k.width // head_dim, head_dim, F32)
        self.append(k, v, store, rows)
        return self.attend(q, store, rows, scale=scale, **options)

    def swiglu(self, gate: Activation, up: Activation) -> Activation:
        _expect("second input of swiglu", gate.shape, up.shape)
        return self._by_value("swiglu", ACTIVATION_OPERATIONS, gate, up)

    def clamped_swiglu(self, gate: Activation, up: Activation, *, alpha: float, limit: float) -> Activation:
        return self.swiglu(gate, up)

    def sigmoid_gate(self, x: Activation, gate: Activation) -> Activation:
        _expect("gates", (x.rows, 1 if gate.width == 1 else x.width), gate.shape)
        return self._by_value("sigmoid_gate", ACTIVATION_OPERATIONS, x, gate)

    def geglu(self, gate: Activation, up: Activation, approximation: str) -> Activation:
        _expect("second input of geglu", gate.shape, up.shape)
        return self._by_value("geglu", ACTIVATION_OPERATIONS, gate, up)

    def route(
        self,
        scores: Activation,
        routing: Routing,
        bias: CountedVector | None = None,
        expert_scale: CountedVector | None = None,
    ) -> CountedRoutes:
        for vector in (bias, expert_scale):
            if vector is not None:
                _expect(f"values of {vector.name}", scores.width, vector.size)
        self._by_value("route", SOFTMAX_OPERATIONS, scores)
        return CountedRoutes(scores.rows, scores.width, routing.n_chosen)

    def expert_linear(
        self,
        x: Activation,
        weights: Sequence[CountedWeight],
        routes: CountedRoutes,
        bias: CountedVector | None = None,
    ) -> Activation:
        """Count the products of the pairs, and expect to read as many experts as rows of even choice would touch.

        An expert is left alone by a row with probability 1 - k / E, and by R rows with its R-th power.
        """
        weight, n_pairs = weights[0], routes.n_rows * routes.n_chosen
        n_out, n_in = weight.shape
        _expect("experts", routes.n_experts, len(weights))
        if x.rows != n_pairs:
            _expect(f"input of {weight.name}", (routes.n_rows, n_in), x.shape)
        _expect(f"width of the input of {weight.name}", n_in, x.width)
        read = weight.n_bytes
        if bias is not None:
            _expect(f"biases {bias.name}", len(weights) * n_out, bias.size)
            read += 4 * n_out
        gathered = Activation(self.room, n_pairs, n_in) if x.rows != n_pairs else x
        gathered.quantize(weight.format, self.target.quantized_bytes(weight.format, n_pairs, n_in))
        touched = routes.n_experts * (1 - (1 - routes.n_chosen / routes.n_experts) ** routes.n_rows)
        return self._result(
            "experts",
            n_pairs,
            n_out,
            x,
            name=weight.name.partition("[")[0],
            weight_bytes=round(read * touched),
            operations={weight.data_type: 2 * n_pairs * n_out * n_in},
            expected=True,
        )

    def weigh(self, y: Activation, routes: CountedRoutes) -> Activation:
        _expect("pairs to weigh", routes.n_rows * routes.n_chosen, y.rows)
        return self._by_value("weigh", 1, y)

    def combine(self, y: Activation, routes: CountedRoutes, *, weighted: bool = True) -> Activation:
        _expect("pairs to combine", routes.n_rows * routes.n_chosen, y.rows)
        return self._result("combine", routes.n_rows, y.width, y, operations={"fp32": 2 * y.rows * y.width})

    def causal_conv(
        self,
        x: Activation,
        weight: CountedVector,
        bias: CountedVector | None,
        store: CountedRecurrentStore,
        rows: Rows,
        *,
        silu: bool = True,
    ) -> Activation:
        _expect_multiple(f"factors of {weight.name}", x.width, weight.size)
        kernel = weight.size // x.width
        _expect("state of the convolution", 4 * (kernel - 1) * x.width, store.state_bytes)
        read = weight.n_bytes + (bias.n_bytes if bias else 0)
        return self._advanced("causal_conv", (x,), store, rows, 2 * kernel * x.rows * x.width, read)

    def selective_scan(
        self,
        x: Activation,
        dt: Activation,
        b: Activation,
        c: Activation,
        a_log: CountedVector,
        d: CountedVector,
        dt_bias: CountedVector | None,
        store: CountedRecurrentStore,
        rows: Rows,
        *,
        n_heads: int,
        n_groups: int = 1,
    ) -> Activation:
        """Count the state read and written once for every sequence, and three multiply-adds for each of its values."""
        _expect("steps of selective_scan", (x.rows, n_heads), dt.shape)
        _expect("outputs of the state", b.shape, c.shape)
        _expect_multiple("heads", n_groups, n_heads)
        _expect_multiple(f"decays {a_log.name}", n_heads, a_log.size)
        _expect(f"skips {d.name}", n_heads, d.size)
        state = x.width * b.width // n_groups
        _expect("state of selective_scan", 4 * state, store.state_bytes)
        read = a_log.n_bytes + d.n_bytes + (dt_bias.n_bytes if dt_bias else 0)
        return self._advanced("selective_scan", (x, dt, b, c), store, rows, 6 * x.rows * state, read)

    def l2_norm(self, x: Activation, head_dim: int, eps: float) -> Activation:
        _expect_multiple("input of l2_norm", head_dim, x.width)
        return self._by_value("l2_norm", NORM_OPERATIONS, x)

    def gated_delta_rule(
        self,
        q: Activation,
        k: Activation,
        v: Activation,
        a: Activation,
        b: Activation,
        a_log: CountedVector,
        dt_bias: CountedVector,
        store: CountedRecurrentStore,
        rows: Rows,
        *,
        n_key_heads: int,
        scale: float,
        tiled: bool = False,
    ) -> Activation:
        """Count the state read and written once for every sequence; each of its values is multiplied by the decay, and
        has a multiply-add for what it recalls, for its update and for the result.
        """
        n_heads = a_log.size
        _expect("keys", q.shape, k.shape)
        _expect_multiple("keys", n_key_heads, k.width)
        _expect_multiple("heads", n_key_heads, n_heads)
        _expect_multiple("values", n_heads, v.width)
        for what, gates in (("decays", a), ("steps", b)):
            _expect(f"{what} of gated_delta_rule", (v.rows, n_heads), gates.shape)
        _expect(f"values of {dt_bias.name}", n_heads, dt_bias.size)
        state = v.width * k.width // n_key_heads
        _expect("state of gated_delta_rule", 4 * state, store.state_bytes)
        read = a_log.n_bytes + dt_bias.n_bytes
        return self._advanced("gated_delta_rule", (v, q, k, a, b), store, rows, 7 * v.rows * state, read)

    def grouped_rms_norm(self, x: Activation, weight: CountedVector, eps: float, n_groups: int) -> Activation:
        _expect(f"input of {weight.name}", weight.size, x.width)
        _expect_multiple(f"groups of {weight.name}", n_groups, x.width)
        return self._by_value("rms_norm", NORM_OPERATIONS, x, name=weight.name, weight_bytes=weight.n_bytes)

    def _advanced(
        self,
        kind: str,
        inputs: tuple[Activation, ...],
        store: CountedRecurrentStore,
        rows: Rows,
        operations: int,
        weight_bytes: int,
    ) -> Activation:
        """Enter an op that reads and writes the state of every sequence of the step."""
        moved = len({int(sequence) for sequence in rows.sequences}) * store.state_bytes
        x = inputs[0]
        return self._result(
            kind,
            x.rows,
            x.width,
            *inputs,
            weight_bytes=weight_bytes,
            kv_read_bytes=moved,
            kv_written_bytes=moved,
            operations={"fp32": operations},
        )

    def gelu(self, x: Activation, approximation: str) -> Activation:
        return self._by_value("gelu", ACTIVATION_OPERATIONS, x)

    def scale(self, x: Activation, factor: float | CountedVector) -> Activation:
        return self._by_value("scale", 1, x)

    def scale_by_position(
        self, x: Activation, rows: Rows, *, strength: float, period: int, offset: int = 0
    ) -> Activation:
        _expect("rows to scale by position", len(rows.positions), x.rows)
        return self._by_value("scale", 1, x)

    def softcap(self, x: Activation, cap: float) -> Activation:
        return self._by_value("softcap", ACTIVATION_OPERATIONS, x)

    def squared_relu(self, x: Activation) -> Activation:
        return self._by_value("squared_relu", 2, x)

    def multiply(self, x: Activation, y: Activation) -> Activation:
        _expect("second input of multiply", x.shape, y.shape)
        return self._by_value("multiply", 1, x, y)

    def add(self, x: Activation, y: Activation, scale: float = 1.0) -> Activation:
        _expect("second input of add", x.shape, y.shape)
        return self._by_value("add", 1, x, y)

    def take(self, x: Activation, indices: Array) -> Activation:
        return self._result("take", len(indices), x.width)

    def columns(self, x: Activation, first: int, width: int) -> Activation:
        if not 0 <= first < first + width <= x.width:
            raise ShapeError("columns", expected=f"within {x.width}", found=[first, first + width])
        return self._result("columns", x.rows, width)

    def rows_of_logits(self, rows: Rows) -> Rows:
        chosen = np.asarray(rows.logit_rows, np.intp)
        tokens, positions, sequences = (
            np.asarray(field)[chosen] for field in (rows.tokens, rows.positions, rows.sequences)
        )
        return Rows(tokens, positions, sequences, None, rows.embeddings)

    # -- adding up -------------------------------------------------------------------------------------------------

    def _result(
        self, kind: str, rows: int, width: int, *inputs: Activation, name: str | None = None, **cost: Any
    ) -> Activation:
        """Add an op's cost, and make what it gives."""
        result = Activation(self.room, rows, width)
        moved = result.n_bytes + sum(x.n_bytes for x in inputs)
        self.cost.add(OpCost(name or kind, kind, activation_bytes=moved, **cost))
        return result

    def _by_value(self, kind: str, rate: int, *inputs: Activation, **cost: Any) -> Activation:
        """Add an op on single values, at `rate` operations for each."""
        x = inputs[0]
        return self._result(kind, x.rows, x.width, *inputs, operations={"fp32": rate * x.rows * x.width}, **cost)

    def _visible_to(self, rows: Rows) -> Visible:
        """Count a step's rows once for all its layers."""
        if self._visible is None or self._visible[0] is not rows:
            self._visible = rows, Visible(rows)
        return self._visible[1]


def _expect(what: str, expected: object, found: object) -> None:
    if expected != found:
        raise ShapeError(what, expected=expected, found=found)


def _expect_multiple(what: str, unit: int, found: int) -> None:
    if unit == 0 or found == 0 or found % unit:
        raise ShapeError(what, expected=f"a multiple of {unit}", found=found)
