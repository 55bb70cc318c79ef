"""The smallest layers: a matrix, a lookup table, the head, norms."""

from __future__ import annotations

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.parameters import Layer, Parameter, Part, Role


class Linear(Layer):
    """y = x @ weight.T + bias. Shapes: [R, n_in] -> [R, n_out]."""

    def __init__(
        self, ops: Ops, name: str, n_out: int, n_in: int, role: Role, bias: bool = False, part: Part | None = None
    ) -> None:
        self.ops = ops
        self.weight = Parameter(f"{name}.weight", (n_out, n_in), role, part)
        self.bias = Parameter(f"{name}.bias", (n_out,), role, part) if bias else None

    def __call__(self, x: Array) -> Array:
        return self.ops.linear(x, self.weight.value, self.bias.value if self.bias else None)


class Embedding(Layer):
    """Rows of a table by token, times `scale`; rows that are given as embeddings stay as they are. -> [R, width]."""

    def __init__(self, ops: Ops, name: str, n_rows: int, width: int, scale: float = 1.0) -> None:
        self.ops, self.scale = ops, scale
        self.weight = Parameter(f"{name}.weight", (n_rows, width), "embedding")

    def __call__(self, rows: Rows) -> Array:
        return self.ops.embed(self.weight.value, rows.tokens, rows.embeddings, self.scale)


class PositionEmbedding(Embedding):
    """Learned positions: rows of a table by position. -> [R, width]."""

    def __call__(self, rows: Rows) -> Array:
        return self.ops.embed(self.weight.value, rows.positions)


class Head(Layer):
    """Logits of hidden rows, by a matrix of its own or, tied, by the embedding's table. Shapes: [W, M] -> [W, V].

    With a `softcap` they stay between it and its negative.
    """

    def __init__(self, ops: Ops, embedding: Embedding, *, tied: bool, softcap: float | None = None) -> None:
        self.ops = ops
        self.weight = embedding.weight if tied else Parameter("lm_head.weight", embedding.weight.shape, "head")
        self.softcap = softcap

    def __call__(self, hidden: Array) -> Array:
        logits = self.ops.linear(hidden, self.weight.value)
        return self.ops.softcap(logits, self.softcap) if self.softcap else logits


class RMSNorm(Layer):
    """Root-mean-square norm over stretches of `width` values. Shapes: [R, n * width] -> the same."""

    def __init__(self, ops: Ops, name: str, width: int, eps: float) -> None:
        self.ops = ops
        self.eps = eps
        self.weight = Parameter(f"{name}.weight", (width,), "norm")

    def __call__(self, x: Array) -> Array:
        return self.ops.rms_norm(x, self.weight.value, self.eps)


class WeightlessRMSNorm(Layer):
    """Root-mean-square norm over stretches of `width` values, and nothing else. Shapes: [R, n * width] -> the same."""

    def __init__(self, ops: Ops, width: int, eps: float) -> None:
        self.ops, self.width, self.eps = ops, width, eps

    def __call__(self, x: Array) -> Array:
        return self.ops.rms_norm(x, None, self.eps, self.width)


class LayerNorm(Layer):
    """Mean and variance norm. Shapes: [R, width] -> the same."""

    def __init__(self, ops: Ops, name: str, width: int, eps: float) -> None:
        self.ops = ops
        self.eps = eps
        self.weight = Parameter(f"{name}.weight", (width,), "norm")
        self.bias = Parameter(f"{name}.bias", (width,), "norm")

    def __call__(self, x: Array) -> Array:
        return self.ops.layer_norm(x, self.weight.value, self.bias.value, self.eps)
