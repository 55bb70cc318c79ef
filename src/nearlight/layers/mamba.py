"""State space mixers: a short convolution, then a linear recurrence whose step the input decides.

Stored matrices hold several projections one after the other; they are declared apart, as parts of one tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from nearlight.kernels.ops import Array, RecurrentOps, Rows
from nearlight.layers.basic import Linear
from nearlight.layers.parameters import Layer, Parameter, Part
from nearlight.state.cache import LayerCache, RecurrentState


@dataclass(frozen=True)
class MambaShape:
    """Sizes of a mixer. Mamba's heads are single values; `dt_rank` is its alone, the others are Mamba-2's alone."""

    hidden_size: int
    inner_size: int
    state_size: int
    kernel: int
    n_heads: int
    n_groups: int = 1
    dt_rank: int = 0


GatedNorm: TypeAlias = Literal["gate first", "norm first", "none"]
"""Whether what a recurrence gives is normalised, and on which side of its gate."""


class CausalConv(Layer):
    """Every channel over its last inputs, then SiLU if `silu`. Shapes: [R, C] -> [R, C]."""

    def __init__(
        self,
        ops: RecurrentOps,
        name: str,
        width: int,
        kernel: int,
        part: Part | None,
        bias: bool,
        silu: bool = True,
    ) -> None:
        self.ops, self.silu = ops, silu
        self.weight = Parameter(f"{name}.weight", (width, 1, kernel), "recurrence", part)
        self.bias = Parameter(f"{name}.bias", (width,), "recurrence", part) if bias else None
        self.state = RecurrentState((kernel - 1) * width)

    def __call__(self, x: Array, rows: Rows, cache: LayerCache) -> Array:
        bias = self.bias.value if self.bias else None
        state = cache.recurrent(self.state)
        return self.ops.causal_conv(x, self.weight.value, bias, state, rows, silu=self.silu)


class MambaMixer(Layer):
    """Mamba: x and its gate from one projection, the recurrence's steps, inputs and outputs from x. [R, M] -> [R, M].

    Source: arXiv:2312.00752.
    """

    def __init__(self, ops: RecurrentOps, name: str, shape: MambaShape, *, bias: bool, conv_bias: bool) -> None:
        self.ops, self.shape = ops, shape
        width, inner, state, rank = shape.hidden_size, shape.inner_size, shape.state_size, shape.dt_rank
        projected, chosen = f"{name}.in_proj", f"{name}.x_proj"
        self.x = Linear(ops, projected, inner, width, "mixer", bias, Part(0, 2 * inner))
        self.gate = Linear(ops, projected, inner, width, "mixer", bias, Part(inner, 2 * inner))
        self.conv = CausalConv(ops, f"{name}.conv1d", inner, shape.kernel, Part(0, inner), conv_bias)
        total = rank + 2 * state
        self.dt_low = Linear(ops, chosen, rank, inner, "mixer", part=Part(0, total))
        self.b = Linear(ops, chosen, state, inner, "mixer", part=Part(rank, total))
        self.c = Linear(ops, chosen, state, inner, "mixer", part=Part(rank + state, total))
        self.dt = Linear(ops, f"{name}.dt_proj", inner, rank, "mixer", bias=True)
        self.a_log = Parameter(f"{name}.A_log", (inner, state), "recurrence")
        self.d = Parameter(f"{name}.D", (inner,), "recurrence")
        self.out = Linear(ops, f"{name}.out_proj", width, inner, "mixer", bias)
        self.state = RecurrentState(inner * state)

    def __call__(self, h: Array, rows: Rows, cache: LayerCache) -> Array:
        x = self.conv(self.x(h), rows, cache)
        y = self.ops.selective_scan(
            x,
            self.dt(self.dt_low(x)),
            self.b(x),
            self.c(x),
            self.a_log.value,
            self.d.value,
            None,
            cache.recurrent(self.state),
            rows,
            n_heads=self.shape.inner_size,
        )
        return self.out(self.ops.swiglu(self.gate(h), y))


class Mamba2Mixer(Layer):
    """Mamba-2: all from one projection, one step and decay a head, a norm before the way out. [R, M] -> [R, M].

    Source: arXiv:2405.21060.
    """

    def __init__(
        self,
        ops: RecurrentOps,
        name: str,
        shape: MambaShape,
        eps: float,
        *,
        bias: bool,
        conv_bias: bool,
        out_bias: bool | None = None,
        gated_norm: GatedNorm = "gate first",
    ) -> None:
        self.ops, self.shape, self.eps, self.gated_norm = ops, shape, eps, gated_norm
        inner, grouped = shape.inner_size, shape.n_groups * shape.state_size
        widths = {"gate": inner, "x": inner, "b": grouped, "c": grouped, "dt": shape.n_heads}
        total, start, parts = sum(widths.values()), 0, {}
        for part, width in widths.items():
            linear = Linear(ops, f"{name}.in_proj", width, shape.hidden_size, "mixer", bias, Part(start, total))
            parts[part], start = linear, start + width
        self.gate, self.x, self.b, self.c, self.dt = parts.values()
        convolved = inner + 2 * grouped

        def conv(start: int, width: int) -> CausalConv:
            return CausalConv(ops, f"{name}.conv1d", width, shape.kernel, Part(start, convolved), conv_bias)

        self.x_conv, self.b_conv = conv(0, inner), conv(inner, grouped)
        self.c_conv = conv(inner + grouped, grouped)
        self.dt_bias = Parameter(f"{name}.dt_bias", (shape.n_heads,), "recurrence")
        self.a_log = Parameter(f"{name}.A_log", (shape.n_heads,), "recurrence")
        self.d = Parameter(f"{name}.D", (shape.n_heads,), "recurrence")
        self.norm = None if gated_norm == "none" else Parameter(f"{name}.norm.weight", (inner,), "norm")
        out_bias = bias if out_bias is None else out_bias
        self.out = Linear(ops, f"{name}.out_proj", shape.hidden_size, inner, "mixer", out_bias)
        self.state = RecurrentState(inner * shape.state_size)

    def __call__(self, h: Array, rows: Rows, cache: LayerCache) -> Array:
        gate, x, b, c, dt = self.project(h)
        y = self.ops.selective_scan(
            self.x_conv(x, rows, cache),
            dt,
            self.b_conv(b, rows, cache),
            self.c_conv(c, rows, cache),
            self.a_log.value,
            self.d.value,
            self.dt_bias.value,
            cache.recurrent(self.state),
            rows,
            n_heads=self.shape.n_heads,
            n_groups=self.shape.n_groups,
        )
        return self.out(self.gated(y, gate))

    def project(self, h: Array) -> tuple[Array, ...]:
        """Compute the gate, x, b, c and the steps."""
        return self.gate(h), self.x(h), self.b(h), self.c(h), self.dt(h)

    def gated(self, y: Array, gate: Array) -> Array:
        """Gate what the recurrence gave, and normalise it before that or after."""
        if self.gated_norm == "norm first":
            return self.ops.swiglu(gate, self.normed(y))
        gated = self.ops.swiglu(gate, y)
        return self.normed(gated) if self.gated_norm == "gate first" else gated

    def normed(self, y: Array) -> Array:
        assert self.norm is not None
        return self.ops.grouped_rms_norm(y, self.norm.value, self.eps, self.shape.n_groups)
