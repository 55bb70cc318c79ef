"""Grouped-query attention whose results the row itself gates, value by value. Source: arXiv:2505.06708."""

from __future__ import annotations

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import AttentionShape
from nearlight.layers.basic import Linear, RMSNorm
from nearlight.layers.parameters import Layer, Part
from nearlight.state.cache import KVState, LayerCache


class GatedAttention(Layer):
    """out(attention(x) * logistic(gate(x))), heads of queries and keys being normed. Shapes: [R, M] -> [R, M].

    Each head's queries and gates lie side by side in one stored matrix.
    """

    def __init__(self, ops: Ops, name: str, shape: AttentionShape, eps: float, bias: bool) -> None:
        self.ops = ops
        self.head_dim = head_dim = shape.head_dim

        def linear(part: str, width: int, where: Part | None = None) -> Linear:
            return Linear(ops, f"{name}.{part}", width, shape.hidden_size, "attention", bias, where)

        def half(start: int) -> Linear:
            return linear("q_proj", shape.q_width, Part(start, 2 * shape.q_width, run=head_dim, stride=2 * head_dim))

        self.q, self.gate = half(0), half(head_dim)
        self.k, self.v = linear("k_proj", shape.kv_width), linear("v_proj", shape.kv_width)
        self.q_norm = RMSNorm(ops, f"{name}.q_norm", head_dim, eps)
        self.k_norm = RMSNorm(ops, f"{name}.k_norm", head_dim, eps)
        self.out = Linear(ops, f"{name}.o_proj", shape.hidden_size, shape.q_width, "attention", bias)
        self.kv = KVState(shape.n_kv_heads, head_dim)

    def __call__(self, x: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        gate, q, k, v = self.gate(x), self.q(x), self.k(x), self.v(x)
        q, k = self.q_norm(q), self.k_norm(k)
        q, k = (self.ops.rope(each, angles, self.head_dim) for each in (q, k))
        cache.append(self.kv, k, v, rows)
        attended = cache.attend(self.kv, q, rows, scale=self.head_dim**-0.5)
        return self.out(self.ops.sigmoid_gate(attended, gate))
