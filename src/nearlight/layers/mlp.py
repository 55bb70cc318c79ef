"""Feed-forward layers."""

from __future__ import annotations

from nearlight.kernels.ops import Array, Ops
from nearlight.layers.basic import Linear
from nearlight.layers.parameters import Layer, Part


class GatedMLP(Layer):
    """down(silu(gate(x)) * up(x)). Shapes: [R, M] -> [R, M]. Source: arXiv:2002.05202."""

    def __init__(self, ops: Ops, name: str, hidden_size: int, intermediate_size: int, bias: bool = False) -> None:
        self.ops = ops
        self.gate_proj = Linear(ops, f"{name}.gate_proj", intermediate_size, hidden_size, "mlp", bias)
        self.up_proj = Linear(ops, f"{name}.up_proj", intermediate_size, hidden_size, "mlp", bias)
        self.down_proj = Linear(ops, f"{name}.down_proj", hidden_size, intermediate_size, "mlp", bias)

    def __call__(self, x: Array) -> Array:
        return self.down_proj(self.ops.swiglu(self.gate_proj(x), self.up_proj(x)))


class GeluGatedMLP(GatedMLP):
    """down(gelu(gate(x)) * up(x)), with GELU's `approximation`. Shapes: [R, M] -> [R, M]. Source: arXiv:2002.05202."""

    def __init__(self, ops: Ops, name: str, hidden_size: int, intermediate_size: int, approximation: str) -> None:
        super().__init__(ops, name, hidden_size, intermediate_size)
        self.approximation = approximation

    def __call__(self, x: Array) -> Array:
        return self.down_proj(self.ops.geglu(self.gate_proj(x), self.up_proj(x), self.approximation))


class FusedGatedMLP(GatedMLP):
    """A gated MLP whose gate and up are the two halves of one stored matrix."""

    def __init__(self, ops: Ops, name: str, hidden_size: int, intermediate_size: int) -> None:
        super().__init__(ops, name, hidden_size, intermediate_size)
        gate, up = (Part(half * intermediate_size, 2 * intermediate_size) for half in range(2))
        self.gate_proj = Linear(ops, f"{name}.gate_up_proj", intermediate_size, hidden_size, "mlp", part=gate)
        self.up_proj = Linear(ops, f"{name}.gate_up_proj", intermediate_size, hidden_size, "mlp", part=up)


class SquaredReluMLP(Layer):
    """down(max(up(x), 0) squared). Shapes: [R, M] -> [R, M]. Source: arXiv:2109.08668."""

    def __init__(self, ops: Ops, name: str, hidden_size: int, intermediate_size: int, bias: bool = False) -> None:
        self.ops = ops
        self.up_proj = Linear(ops, f"{name}.up_proj", intermediate_size, hidden_size, "mlp", bias)
        self.down_proj = Linear(ops, f"{name}.down_proj", hidden_size, intermediate_size, "mlp", bias)

    def __call__(self, x: Array) -> Array:
        return self.down_proj(self.ops.squared_relu(self.up_proj(x)))


class GeluMLP(Layer):
    """project(gelu(expand(x))), both with biases. Shapes: [R, M] -> [R, M]."""

    def __init__(
        self, ops: Ops, expand: str, project: str, hidden_size: int, intermediate_size: int, approximation: str
    ) -> None:
        self.ops = ops
        self.approximation = approximation
        self.expand = Linear(ops, expand, intermediate_size, hidden_size, "mlp", bias=True)
        self.project = Linear(ops, project, hidden_size, intermediate_size, "mlp", bias=True)

    def __call__(self, x: Array) -> Array:
        return self.project(self.ops.gelu(self.expand(x), self.approximation))
