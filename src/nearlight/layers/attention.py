"""Grouped-query attention: projections, optional norms of queries and keys, rotation, cache."""

from __future__ import annotations

from dataclasses import dataclass

from nearlight.cache.kv import AttentionCache
from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.basic import Linear, RMSNorm
from nearlight.layers.parameters import Layer


@dataclass(frozen=True)
class AttentionShape:
    """Sizes of an attention layer. Query head h shares the key head h // (n_heads // n_kv_heads)."""

    hidden_size: int
    n_heads: int
    n_kv_heads: int
    head_dim: int


class Projections(Layer):
    """The four matrices of an attention layer."""

    def __init__(self, q: Linear, k: Linear, v: Linear, out: Linear) -> None:
        self.q, self.k, self.v, self.out = q, k, v, out


class Attention(Layer):
    """Attend over the row's own sequence. Shapes: x [R, M] -> [R, M].

    `norms` normalise every head of the queries and of the keys, before rotation. With a `window` a row sees only so
    many tokens, itself the last.
    """

    def __init__(
        self,
        ops: Ops,
        index: int,
        shape: AttentionShape,
        projections: Projections,
        norms: tuple[RMSNorm, RMSNorm] | None = None,
        scale: float | None = None,
        window: int | None = None,
    ) -> None:
        self.ops = ops
        self.index = index
        self.shape = shape
        self.projections = projections
        self.norms = norms
        self.scale = shape.head_dim**-0.5 if scale is None else scale
        self.window = window

    def __call__(self, x: Array, rows: Rows, angles: Array | None, cache: AttentionCache) -> Array:
        q, k, v = self.projections.q(x), self.projections.k(x), self.projections.v(x)
        if self.norms:
            q, k = self.norms[0](q), self.norms[1](k)
        if angles is not None:
            q = self.ops.rope(q, angles, self.shape.head_dim)
            k = self.ops.rope(k, angles, self.shape.head_dim)
        return self.projections.out(cache.attend(self.index, q, k, v, rows, scale=self.scale, window=self.window))
