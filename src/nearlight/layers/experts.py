"""A mixture of experts in place of an MLP: a router sends every row to a few of many.

The experts' matrices are declared stacked along their outputs, so that a layer has four parameters whatever the number
of experts. In files each expert may be a tensor of its own: the name's `*` stands for its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from nearlight.kernels.ops import Array, ExpertOps, Ops, Routing
from nearlight.layers.basic import Linear
from nearlight.layers.mlp import GatedMLP
from nearlight.layers.parameters import Layer, Parameter, Part, Role


@dataclass(frozen=True)
class ExpertNames:
    """What a family calls the parts, below the layer's name.

    `correction` is a vector that is added to what experts are chosen by, where there is one.
    """

    router: str
    gate: str
    up: str
    down: str
    correction: str = ""


class ExpertLinear(Layer):
    """A matrix for each expert, or a `part` of each one's. Shapes: rows or pairs [.., n_in] -> pairs [k * R, n_out]."""

    def __init__(
        self,
        ops: ExpertOps,
        name: str,
        n_experts: int,
        n_out: int,
        n_in: int,
        active: Fraction,
        bias: bool = False,
        part: Part | None = None,
    ) -> None:
        self.ops = ops
        role: Role = "expert"
        self.weight = Parameter(f"{name}.weight", (n_experts * n_out, n_in), role, part, active, stack=n_experts)
        self.bias = Parameter(f"{name}.bias", (n_experts * n_out,), role, active=active) if bias else None

    def __call__(self, x: Array, routes: Array) -> Array:
        return self.ops.expert_linear(x, self.weight.value, routes, self.bias.value if self.bias else None)


class GatedExpert(GatedMLP):
    """An MLP for every row that is weighted by the row itself: logistic(gate(x)) * mlp(x). Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: Ops, name: str, gate: str, hidden_size: int, intermediate_size: int) -> None:
        super().__init__(ops, name, hidden_size, intermediate_size)
        self.gate = Linear(ops, gate, 1, hidden_size, "router")

    def __call__(self, x: Array) -> Array:
        return self.ops.sigmoid_gate(super().__call__(x), self.gate(x))


class SparseMLP(Layer):
    """The chosen experts' down(silu(gate(x)) * up(x)), weighted by the router. Shapes: [R, M] -> [R, M].

    With `bias` the router and every expert's matrices have biases. `shared` is an MLP for every row.
    """

    def __init__(
        self,
        ops: ExpertOps,
        name: str,
        names: ExpertNames,
        hidden_size: int,
        intermediate_size: int,
        n_experts: int,
        routing: Routing,
        bias: bool = False,
        shared: GatedMLP | None = None,
    ) -> None:
        self.ops = ops
        self.routing, self.shared = routing, shared
        self.router = Linear(ops, f"{name}.{names.router}", n_experts, hidden_size, "router", bias)
        correction = f"{name}.{names.correction}"
        self.correction = Parameter(correction, (n_experts,), "router") if names.correction else None
        active = Fraction(routing.n_chosen, n_experts)
        self.gate, self.up, self.down = (
            ExpertLinear(ops, f"{name}.{part}", n_experts, n_out, n_in, active, bias)
            for part, n_out, n_in in (
                (names.gate, intermediate_size, hidden_size),
                (names.up, intermediate_size, hidden_size),
                (names.down, hidden_size, intermediate_size),
            )
        )

    def __call__(self, x: Array) -> Array:
        correction = self.correction.value if self.correction else None
        routes = self.ops.route(self.router(x), self.routing, correction)
        hidden = self.activate(self.gate(x, routes), self.up(x, routes))
        chosen = self.ops.combine(self.down(hidden, routes), routes)
        return self.ops.add(chosen, self.shared(x)) if self.shared else chosen

    def activate(self, gate: Array, up: Array) -> Array:
        return self.ops.swiglu(gate, up)
