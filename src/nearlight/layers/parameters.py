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

Role: TypeAlias = Literal[
    "embedding", "table", "head", "attention", "mlp", "router", "expert", "norm", "mixer", "recurrence"
]
"""What a parameter is for. Whoever treats some unlike others (formats, counts, lists) asks this, and no name.

A "table" is looked up in, a row for a token, and stays in its file: it is never packed, re-quantized or copied.
"""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Part:
    """Where a parameter begins in a stored tensor that holds `total` entries along its first axis.

    Of a stack: where each of its matrices begins among the `total` entries that the tensor has for each. With `run` it
    lies there in pieces: so many entries of every `stride`, one piece for each head.
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
        return (self.part.total * (self.stack or 1), *self.shape[1:]) if self.part else self.shape

    @property
    def is_table(self) -> bool:
        return self.role == "table"

    @property
    def is_matrix(self) -> bool:
        """Whether it is multiplied with in its stored bits; all else but tables is small, and kept as float32."""
        return len(self.shape) == 2 and self.role not in ("recurrence", "table")

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
        if not self.stack:
            return [self._cut(tensor, 0)] if self.part else [tensor]
        return [self._cut(tensor, i).renamed(f"{tensor.name}[{i}]") for i in range(self.stack)]

    def _cut(self, tensor: StoredTensor, number: int) -> StoredTensor:
        """Cut out the matrix of this number in the stack, or the one there is."""
        n_rows = self.shape[0] // (self.stack or 1)
        start, total = (self.part.start, self.part.total) if self.part else (0, n_rows)
        return tensor.part(number * total + start, number * total + start + n_rows)

    def bind(self, ops: Ops, tensor: StoredTensor) -> None:
        """Take the value from a tensor of `stored_shape`."""
        self.hold([self.taken(ops, part) for part in self.own_parts(tensor)], tensor.format)

    def bind_shape(self, ops: Ops, tensor: StoredTensor) -> None:
        """Take the value from what is only a shape: a stack's matrices are all the same one."""
        first = self._cut(tensor, 0) if self.stack or self.part else tensor
        self.hold([self.taken(ops, first)] * (self.stack or 1), tensor.format)

    def taken(self, ops: Ops, tensor: StoredTensor) -> Any:
        """Have the kernel set take in a tensor as what this parameter is."""
        if self.is_table:
            return ops.table(tensor)
        return ops.matrix(tensor) if self.is_matrix else ops.vector(tensor)

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
