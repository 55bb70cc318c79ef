"""Gated DeltaNet: linear attention whose state forgets, and whose keys overwrite what they recall.

Source: arXiv:2412.06464, as in Qwen3-Next and Qwen3.5.
"""

from __future__ import annotations

from dataclasses import dataclass

from nearlight.kernels.ops import Array, RecurrentOps, Rows
from nearlight.layers.basic import Linear, RMSNorm
from nearlight.layers.mamba import CausalConv
from nearlight.layers.parameters import Layer, Parameter, Part
from nearlight.state.cache import LayerCache, RecurrentState

_L2_EPS = 1e-6


@dataclass(frozen=True)
class DeltaNetShape:
    """Sizes of a gated DeltaNet.

    Head h uses key head h // (n_heads / n_key_heads) or, where heads are `tiled`, h % n_key_heads.
    """

    hidden_size: int
    n_key_heads: int
    n_heads: int
    key_dim: int
    head_dim: int
    kernel: int
    tiled: bool = False

    @property
    def key_width(self) -> int:
        return self.n_key_heads * self.key_dim

    @property
    def width(self) -> int:
        return self.n_heads * self.head_dim

    @property
    def convolved(self) -> dict[str, tuple[int, int]]:
        """Where q, k and v begin among the convolved channels, and how wide they are."""
        return {
            "q": (0, self.key_width),
            "k": (self.key_width, self.key_width),
            "v": (2 * self.key_width, self.width),
        }


class DeltaProjections(Layer):
    """What a gated DeltaNet makes of a row.

    Shapes: [R, M] -> q and k [R, K * D], v and the output's gate z [R, H * E], a of the decay and b of the step [R, H].
    """

    def __init__(self, q: Linear, k: Linear, v: Linear, z: Linear, a: Linear, b: Linear) -> None:
        self.q, self.k, self.v, self.z, self.a, self.b = q, k, v, z, a, b

    @classmethod
    def of(cls, ops: RecurrentOps, name: str, shape: DeltaNetShape) -> DeltaProjections:
        """Declare queries, keys and values as parts of one stored matrix, the others alone."""

        def linear(part: str, width: int, where: Part | None = None) -> Linear:
            return Linear(ops, f"{name}.in_proj_{part}", width, shape.hidden_size, "mixer", part=where)

        total = 2 * shape.key_width + shape.width
        q, k, v = (linear("qkv", width, Part(start, total)) for start, width in shape.convolved.values())
        return cls(
            q, k, v, linear("z", shape.width), a=linear("a", shape.n_heads), b=linear("b", shape.n_heads)
        )  # fmt: skip

    @classmethod
    def by_key_head(cls, ops: RecurrentOps, name: str, shape: DeltaNetShape) -> DeltaProjections:
        """Declare what belongs to a key head as lying side by side: [q, k, v, z] in one matrix, [b, a] in another."""
        values = shape.width // shape.n_key_heads
        q, k, v, z = _by_key_head(
            ops, f"{name}.in_proj_qkvz", shape, (shape.key_dim, shape.key_dim, values, values)
        )  # fmt: skip
        return cls(q, k, v, z, *_gates_by_key_head(ops, name, shape))

    @classmethod
    def gates_by_key_head(cls, ops: RecurrentOps, name: str, shape: DeltaNetShape) -> DeltaProjections:
        """Declare a and b so, the others as `of` does: as in GGUF files."""
        apart = cls.of(ops, name, shape)
        return cls(apart.q, apart.k, apart.v, apart.z, *_gates_by_key_head(ops, name, shape))


def _gates_by_key_head(ops: RecurrentOps, name: str, shape: DeltaNetShape) -> tuple[Linear, Linear]:
    repeats = shape.n_heads // shape.n_key_heads
    b, a = _by_key_head(ops, f"{name}.in_proj_ba", shape, (repeats, repeats))
    return a, b


def _by_key_head(ops: RecurrentOps, name: str, shape: DeltaNetShape, widths: tuple[int, ...]) -> list[Linear]:
    """Declare projections that lie in one matrix key head by key head, each with so many rows of it."""
    stride, start, linears = sum(widths), 0, []
    for run in widths:
        part = Part(start, shape.n_key_heads * stride, run, stride)
        linears.append(Linear(ops, name, shape.n_key_heads * run, shape.hidden_size, "mixer", part=part))
        start += run
    return linears


class GatedDeltaNet(Layer):
    """Short convolutions, the gated delta rule over keys of length 1, a norm of heads and a gate. [R, M] -> [R, M]."""

    def __init__(
        self, ops: RecurrentOps, name: str, shape: DeltaNetShape, projections: DeltaProjections, eps: float
    ) -> None:
        self.ops, self.shape, self.projections = ops, shape, projections
        total = 2 * shape.key_width + shape.width
        self.q_conv, self.k_conv, self.v_conv = (
            CausalConv(ops, f"{name}.conv1d", width, shape.kernel, Part(start, total), bias=False)
            for start, width in shape.convolved.values()
        )
        self.a_log = Parameter(f"{name}.A_log", (shape.n_heads,), "recurrence")
        self.dt_bias = Parameter(f"{name}.dt_bias", (shape.n_heads,), "recurrence")
        self.norm = RMSNorm(ops, f"{name}.norm", shape.head_dim, eps)
        self.out = Linear(ops, f"{name}.out_proj", shape.hidden_size, shape.width, "mixer")
        self.state = RecurrentState(shape.key_dim * shape.width)

    def __call__(self, x: Array, rows: Rows, cache: LayerCache) -> Array:
        made = self.projections
        q, k, v, z, a, b = made.q(x), made.k(x), made.v(x), made.z(x), made.a(x), made.b(x)
        q, k, v = self.q_conv(q, rows, cache), self.k_conv(k, rows, cache), self.v_conv(v, rows, cache)
        q, k = (self.ops.l2_norm(each, self.shape.key_dim, _L2_EPS) for each in (q, k))
        y = self.ops.gated_delta_rule(
            q,
            k,
            v,
            a,
            b,
            self.a_log.value,
            self.dt_bias.value,
            cache.recurrent(self.state),
            rows,
            n_key_heads=self.shape.n_key_heads,
            scale=self.shape.key_dim**-0.5,
            tiled=self.shape.tiled,
        )
        return self.out(self.ops.swiglu(z, self.norm(y)))
