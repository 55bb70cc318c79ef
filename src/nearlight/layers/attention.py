"""Grouped-query attention: projections, optional norms of queries and keys, rotation, cache."""

from __future__ import annotations

from dataclasses import dataclass

from nearlight.kernels.ops import Array, AttendOptions, Ops, Rows
from nearlight.layers.basic import Linear, RMSNorm
from nearlight.layers.parameters import Layer, Parameter, Part
from nearlight.state.cache import KVState, LayerCache


@dataclass(frozen=True)
class AttentionShape:
    """Sizes of an attention layer. Query head h shares the key head h // (n_heads // n_kv_heads)."""

    hidden_size: int
    n_heads: int
    n_kv_heads: int
    head_dim: int

    @property
    def q_width(self) -> int:
        return self.n_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.n_kv_heads * self.head_dim


class Projections(Layer):
    """The four matrices of an attention layer. Shapes: [R, M] -> queries [R, H * D], keys and values [R, K * D]."""

    def __init__(self, q: Linear, k: Linear, v: Linear, out: Linear) -> None:
        self.q, self.k, self.v, self.out = q, k, v, out

    @classmethod
    def of(
        cls, ops: Ops, name: str, shape: AttentionShape, *, qkv_bias: bool = False, out_bias: bool = False
    ) -> Projections:
        """Declare them under their usual names below the layer's."""
        width = shape.hidden_size
        return cls(
            q=Linear(ops, f"{name}.q_proj", shape.q_width, width, "attention", qkv_bias),
            k=Linear(ops, f"{name}.k_proj", shape.kv_width, width, "attention", qkv_bias),
            v=Linear(ops, f"{name}.v_proj", shape.kv_width, width, "attention", qkv_bias),
            out=Linear(ops, f"{name}.o_proj", width, shape.q_width, "attention", out_bias),
        )

    @classmethod
    def fused(cls, ops: Ops, name: str, out: str, shape: AttentionShape, *, bias: bool = False) -> Projections:
        """Declare queries, keys and values as the parts of one stored matrix."""
        total, start, parts = shape.q_width + 2 * shape.kv_width, 0, []
        for width in (shape.q_width, shape.kv_width, shape.kv_width):
            parts.append(Linear(ops, name, width, shape.hidden_size, "attention", bias, Part(start, total)))
            start += width
        q, k, v = parts
        return cls(q, k, v, Linear(ops, out, shape.hidden_size, shape.q_width, "attention", bias))


class Attention(Layer):
    """Attend over the row's own sequence. Shapes: x [R, M] -> [R, M].

    `norms` normalise every head of the queries and of the keys, before rotation. With a `window` a row sees only so
    many tokens, itself the last, or where it is `chunked` its own chunk of so many. `softcap` bounds scores, `sinks`
    are one score more for each head, of nothing. Without angles nothing is rotated; `interleaved` says that neighbours
    are the pairs that are.
    """

    def __init__(
        self,
        ops: Ops,
        shape: AttentionShape,
        projections: Projections,
        norms: tuple[RMSNorm, RMSNorm] | None = None,
        scale: float | None = None,
        window: int | None = None,
        chunked: bool = False,
        softcap: float | None = None,
        sinks: Parameter | None = None,
        interleaved: bool = False,
    ) -> None:
        self.ops = ops
        self.projections = projections
        self.norms = norms
        self.head_dim = shape.head_dim
        self.scale = shape.head_dim**-0.5 if scale is None else scale
        self.softcap, self.sinks, self.interleaved = softcap, sinks, interleaved
        self.kv = KVState(shape.n_kv_heads, shape.head_dim, window, chunked)

    def __call__(self, x: Array, rows: Rows, angles: Array | None, cache: LayerCache) -> Array:
        q, k, v = self.projections.q(x), self.projections.k(x), self.projections.v(x)
        q, k = self.turn(q, k, rows, angles)
        cache.append(self.kv, k, v, rows)
        sinks = self.sinks.value if self.sinks else None
        options = AttendOptions(softcap=self.softcap, sinks=sinks)
        return self.projections.out(cache.attend(self.kv, q, rows, scale=self.scale, **options))

    def turn(self, q: Array, k: Array, rows: Rows, angles: Array | None) -> tuple[Array, Array]:
        """Make queries and keys such that their products tell the distance: norms and rotation."""
        if self.norms:
            q, k = self.norms[0](q), self.norms[1](k)
        if angles is None:
            return q, k
        q, k = (self.ops.rope(each, angles, self.head_dim, interleaved=self.interleaved) for each in (q, k))
        return q, k
