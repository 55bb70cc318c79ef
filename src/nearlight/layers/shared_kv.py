"""Attention where later layers attend over the keys and values of an earlier one, instead of making their own.

Such a layer keeps nothing of a token, so it is needed only for rows whose logits are asked for. Heads are normed: of
queries and keys with a weight, of values without.

Source: arXiv:2405.05254 (one cache for many layers); Gemma 3n's and Gemma 4's releases.
"""

from __future__ import annotations

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import AttentionShape
from nearlight.layers.basic import Linear, RMSNorm, WeightlessRMSNorm
from nearlight.layers.parameters import Layer
from nearlight.state.cache import KVState, LayerCache


class KeysAndValues(Layer):
    """Append a layer's keys and values to a state that other layers may attend over too. Shapes: x [R, M].

    With `values_of_keys` there is no projection of values: they are the keys, before their norm and rotation.
    """

    def __init__(
        self,
        ops: Ops,
        name: str,
        shape: AttentionShape,
        eps: float,
        *,
        window: int | None,
        values_of_keys: bool = False,
        bias: bool = False,
    ) -> None:
        self.ops, self.shape = ops, shape
        width = shape.hidden_size
        self.k = Linear(ops, f"{name}.k_proj", shape.kv_width, width, "attention", bias)
        self.v = None if values_of_keys else Linear(ops, f"{name}.v_proj", shape.kv_width, width, "attention", bias)
        self.k_norm = RMSNorm(ops, f"{name}.k_norm", shape.head_dim, eps)
        self.v_norm = WeightlessRMSNorm(ops, shape.head_dim, eps)
        self.state = KVState(shape.n_kv_heads, shape.head_dim, window)

    def __call__(self, x: Array, rows: Rows, angles: Array, cache: LayerCache) -> None:
        k = self.k(x)
        v = self.v_norm(self.v(x) if self.v else k)
        k = self.ops.rope(self.k_norm(k), angles, self.shape.head_dim)
        cache.append(self.state, k, v, rows)


class SharedAttention(Layer):
    """Attend over what `source` keeps: the layer's own keys and values, or an earlier layer's.

    Shapes: [R, M] -> [R, M]. Scores are not scaled: the norm of the queries is all the scale there is.
    """

    def __init__(
        self,
        ops: Ops,
        name: str,
        shape: AttentionShape,
        eps: float,
        source: KeysAndValues,
        *,
        owns_source: bool,
        bias: bool = False,
    ) -> None:
        self.ops, self.shape = ops, shape
        self.q = Linear(ops, f"{name}.q_proj", shape.q_width, shape.hidden_size, "attention", bias)
        self.q_norm = RMSNorm(ops, f"{name}.q_norm", shape.head_dim, eps)
        self.own = source if owns_source else None
        self.kv = source.state
        self.out = Linear(ops, f"{name}.o_proj", shape.hidden_size, shape.q_width, "attention", bias)

    def __call__(self, x: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        q = self.ops.rope(self.q_norm(self.q(x)), angles, self.shape.head_dim)
        if self.own:
            self.own(x, rows, angles, cache)
        return self.out(cache.attend(self.kv, q, rows, scale=1.0))
