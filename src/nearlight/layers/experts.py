"""A mixture of experts in place of an MLP: a router sends every row to a few of many.

The experts' matrices are declared stacked along their outputs, so that a layer has four parameters whatever the number
of experts. In files each expert may be a tensor of its own: the name's `*` stands for its number.
"""

from __future__ import annotations

from dataclasses import dataclass

from nearlight.kernels.ops import Array, ExpertOps
from nearlight.layers.basic import Linear
from nearlight.layers.parameters import Layer


@dataclass(frozen=True)
class ExpertNames:
    """What a family calls the parts, below the layer's name."""

    router: str
    gate: str
    up: str
    down: str


class SparseMLP(Layer):
    """The chosen experts' down(silu(gate(x)) * up(x)), weighted by the router. Shapes: [R, M] -> [R, M]."""

    def __init__(
        self,
        ops: ExpertOps,
        name: str,
        names: ExpertNames,
        hidden_size: int,
        intermediate_size: int,
        n_experts: int,
        n_chosen: int,
        normalize: bool,
    ) -> None:
        self.ops = ops
        self.n_experts, self.n_chosen, self.normalize = n_experts, n_chosen, normalize
        self.router = Linear(ops, f"{name}.{names.router}", n_experts, hidden_size)
        self.gate = Linear(ops, f"{name}.{names.gate}", n_experts * intermediate_size, hidden_size)
        self.up = Linear(ops, f"{name}.{names.up}", n_experts * intermediate_size, hidden_size)
        self.down = Linear(ops, f"{name}.{names.down}", n_experts * hidden_size, intermediate_size)

    def __call__(self, x: Array) -> Array:
        gate, up, down = (linear.weight.value for linear in (self.gate, self.up, self.down))
        return self.ops.experts(x, self.router(x), gate, up, down, n_chosen=self.n_chosen, normalize=self.normalize)

    @property
    def idle_size(self) -> int:
        """Parameters of the experts that a row is not sent to."""
        experts = sum(linear.weight.size for linear in (self.gate, self.up, self.down))
        return experts // self.n_experts * (self.n_experts - self.n_chosen)
