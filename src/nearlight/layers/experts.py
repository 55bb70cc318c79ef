"""A mixture of experts in place of an MLP: a router sends every row to a few of many.

The experts' matrices are declared stacked along their outputs, so that a layer has four parameters whatever the number
of experts. In files each expert may be a tensor of its own: the name's `*` stands for its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from nearlight.kernels.ops import Array, ExpertOps
from nearlight.layers.basic import Linear
from nearlight.layers.parameters import Layer, Parameter


@dataclass(frozen=True)
class ExpertNames:
    """What a family calls the parts, below the layer's name."""

    router: str
    gate: str
    up: str
    down: str


class SparseMLP(Layer):
    """The chosen experts' down(silu(gate(x)) * up(x)), weighted by the router. Shapes: [R, M] -> [R, M].

    With `bias` the router and every expert's matrices have biases; `experts` leaves the experts' out.
    """

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
        bias: bool = False,
    ) -> None:
        self.ops = ops
        self.n_chosen, self.normalize = n_chosen, normalize
        self.router = Linear(ops, f"{name}.{names.router}", n_experts, hidden_size, "router", bias)
        chosen, inner, outer = Fraction(n_chosen, n_experts), n_experts * intermediate_size, n_experts * hidden_size
        self.gate, self.up, self.down = (
            Parameter(f"{name}.{part}.weight", shape, "expert", active=chosen)
            for part, shape in (
                (names.gate, (inner, hidden_size)),
                (names.up, (inner, hidden_size)),
                (names.down, (outer, intermediate_size)),
            )
        )
        widths = {names.gate: inner, names.up: inner, names.down: outer} if bias else {}
        self.biases = [
            Parameter(f"{name}.{part}.bias", (width,), "expert", active=chosen) for part, width in widths.items()
        ]

    def __call__(self, x: Array) -> Array:
        experts = self.gate.value, self.up.value, self.down.value
        return self.ops.experts(x, self.router(x), *experts, n_chosen=self.n_chosen, normalize=self.normalize)
