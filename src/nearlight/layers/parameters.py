"""Parameters declared by name, shape and role, and the tree of layers that holds them.

Building a model only declares: nothing is read or allocated. Binding asks the kernel set to take in each declared
tensor, and is the one place where a package is checked against its own config. A model whose parameters are bound
to shapes instead of tensors can be counted without weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias, TypeVar

from nearlight.dtypes import Format
from nearlight.kernels.ops import Ops
from nearlight.package.tensors import StoredTensor

Role: TypeAlias = Literal["embedding", "head", "attention", "mlp", "router", "expert", "norm", "mixer", "recurrence"]
"""What a parameter is for. Whoever treats some unlike others (formats, counts, lists) asks this, and no name."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Part:
    """Where a parameter begins in a stored tensor that holds `total` entries along its first axis.

    With `run` it lies there in pieces: so many entries of every `stride`, one piece for each head.
    """

    start: int
    total: int
    run: int = 0
    stride: int = 0


@dataclass(eq=False)
class Parameter:
    """A tensor that a layer needs.

    Shapes: `shape` is [out, in] for a matrix, [n] for a vector.
    `part` says that the stored tensor holds several parameters one after the other along its first axis, and at
    which entry this one begins: fused projections are declared apart. `active` is the share of it that a token meets:
    less than 1 for experts. A `stack` is so many matrices, one after the other along the first axis. `value` is what
    the kernel set made of the tensor, once bound (of a stack a list), and `format` what it was made from.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    part: Part | None = None
    active: Fraction = Fraction(1)
    stack: int = 0
    value: Any = None
    format: Format | None = None

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return (self.part.total, *self.shape[1:]) if self.part else self.shape

    @property
    def is_matrix(self) -> bool:
        """Whether it is multiplied with in its stored bits; all else is small, and kept as float32."""
        return len(self.shape) == 2 and self.role != "recurrence"

    @property
    def size(self) -> int:
        size = 1
        for axis in self.shape:
            size *= axis
        return size

    def own_parts(self, tensor: StoredTensor) -> list[StoredTensor]:
        """Cut what this parameter is made of from a tensor of `stored_shape`: one tensor, or those of its stack."""
        if self.part and self.part.run:
            return [tensor.runs(self.part.start, self.part.run, self.part.stride)]
        if self.part:
            return [tensor.part(self.part.start, self.part.start + self.shape[0])]
        if not self.stack:
            return [tensor]
        n_rows = self.shape[0] // self.stack
        each = ((i, tensor.part(i * n_rows, (i + 1) * n_rows)) for i in range(self.stack))
        return [part.renamed(f"{tensor.name}[{i}]") for i, part in each]

    def bind(self, ops: Ops, tensor: StoredTensor) -> None:
        """Take the value from a tensor of `stored_shape`."""
        take = ops.matrix if self.is_matrix else ops.vector
        self.hold([take(part) for part in self.own_parts(tensor)], tensor.format)

    def bind_shape(self, ops: Ops, tensor: StoredTensor) -> None:
        """Take the value from what is only a shape: a stack's matrices are all the same one."""
        first = tensor.part(0, self.shape[0] // self.stack) if self.stack else self.own_parts(tensor)[0]
        self.hold([ops.matrix(first) if self.is_matrix else ops.vector(first)] * (self.stack or 1), tensor.format)

    def hold(self, values: list[Any], format: Format) -> None:
        """Take what the kernel set made of this parameter's parts, of tensors of this format."""
        self.value, self.format = values if self.stack else values[0], format

    @property
    def values(self) -> list[Any]:
        """What the kernel set made of it: one value, or as many as a stack has."""
        return self.value if self.stack else [self.value]


def _members(value: object) -> Iterable[object]:
    """Return the parts of a layer that an attribute of it holds."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else (value,)


class Layer:
    """A part of a model: it holds parameters, states and other layers, and is called with activations."""

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter below this layer, in order of declaration, each once."""
        return self.declared(Parameter)

    def declared(self, kind: type[_T] | tuple[type[_T], ...]) -> Iterator[_T]:
        """Yield everything of a kind that this layer and those below it hold, in order of declaration, each once."""
        seen: set[int] = set()
        for found in self._walk(kind):
            if id(found) not in seen:
                seen.add(id(found))
                yield found

    def _walk(self, kind: type[_T] | tuple[type[_T], ...]) -> Iterator[_T]:
        for member in list(vars(self).values()):
            for part in _members(member):
                if isinstance(part, kind):
                    yield part
                elif isinstance(part, Layer):
                    yield from part._walk(kind)
