"""Per-layer embeddings: every layer has a small vector of each token, besides the stream.

They come from one table, a row of which has the vectors of all layers. It is larger than all else of a small model, and
of it a step needs as many rows as it has tokens: so it stays in its file, and never takes memory.

Source: Gemma 3n's release (developers.googleblog.com, June 2025).
"""

from __future__ import annotations

from fractions import Fraction

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.basic import Linear, RMSNorm
from nearlight.layers.parameters import Layer, Parameter


class PerLayerEmbedding(Layer):
    """Mix a row of the table with a projection of the token's embedding h. Shapes: h [R, M] -> [R, L * P]."""

    def __init__(
        self, ops: Ops, name: str, n_rows: int, n_layers: int, width: int, hidden_size: int, eps: float
    ) -> None:
        self.ops, self.width = ops, width
        total = n_layers * width
        one_row = Fraction(1, n_rows)
        self.table = Parameter(f"{name}.embed_tokens_per_layer.weight", (n_rows, total), "table", active=one_row)
        self.projection = Linear(ops, f"{name}.per_layer_model_projection", total, hidden_size, "mlp")
        # Of the projection over sqrt(M): dividing by that before a norm is multiplying its eps.
        self.norm = RMSNorm(ops, f"{name}.per_layer_projection_norm", width, eps * hidden_size)

    def __call__(self, rows: Rows, h: Array) -> Array:
        found = self.ops.look_up(self.table.value, rows.tokens, (self.width / 2) ** 0.5)
        return self.ops.add(found, self.norm(self.projection(h)), 0.5**0.5)

    def of_layer(self, index: int, given: Array) -> Array:
        """Pick a layer's vectors. Shapes: given [R, L * P] -> [R, P]."""
        return self.ops.columns(given, index * self.width, self.width)


class PerLayerGate(Layer):
    """What the stream gains by a layer's vectors: norm(project(gelu(gate(h)) * given)).

    Shapes: h [R, M], given [R, P] -> [R, M].
    """

    def __init__(self, ops: Ops, name: str, hidden_size: int, width: int, eps: float, approximation: str) -> None:
        self.ops, self.approximation = ops, approximation
        self.gate = Linear(ops, f"{name}.per_layer_input_gate", width, hidden_size, "mlp")
        self.projection = Linear(ops, f"{name}.per_layer_projection", hidden_size, width, "mlp")
        self.norm = RMSNorm(ops, f"{name}.post_per_layer_input_norm", hidden_size, eps)

    def __call__(self, h: Array, given: Array) -> Array:
        return self.norm(self.projection(self.ops.geglu(self.gate(h), given, self.approximation)))
