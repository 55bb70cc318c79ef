"""Parameters declared by name and shape, and the tree of layers that holds them.

Building a model only declares: nothing is read or allocated. Binding asks the kernel set to take in each declared
tensor, and is the one place where a package is checked against its own config. A model whose parameters are bound
to shapes instead of tensors can be counted without weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nearlight.dtypes import Format
from nearlight.kernels.ops import Ops
from nearlight.package.tensors import StoredTensor


@dataclass(frozen=True)
class Part:
    """Where a parameter begins in a stored tensor that holds `total` entries along its first axis."""

    start: int
    total: int


@dataclass(eq=False)
class Parameter:
    """A tensor that a layer needs.

    Shapes: `shape` is [out, in] for a matrix, [n] for a vector.
    `part` says that the stored tensor holds several parameters one after the other along its first axis, and at
    which entry this one begins: fused projections are declared apart. `value` is what the kernel set made of the
    tensor, once bound, and `format` what it was made from.
    """

    name: str
    shape: tuple[int, ...]
    part: Part | None = None
    value: Any = None
    format: Format | None = None

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return (self.part.total, *self.shape[1:]) if self.part else self.shape

    @property
    def is_matrix(self) -> bool:
        return len(self.shape) == 2

    @property
    def size(self) -> int:
        size = 1
        for axis in self.shape:
            size *= axis
        return size

    def own_part(self, tensor: StoredTensor) -> StoredTensor:
        """Cut this parameter out of a tensor of `stored_shape`."""
        return tensor.part(self.part.start, self.part.start + self.shape[0]) if self.part else tensor

    def bind(self, ops: Ops, tensor: StoredTensor) -> None:
        """Take the value from a tensor of `stored_shape`."""
        self.take(ops, self.own_part(tensor))

    def take(self, ops: Ops, tensor: StoredTensor) -> None:
        """Take the value from a tensor of this parameter's own shape."""
        self.hold(ops.matrix(tensor) if self.is_matrix else ops.vector(tensor), tensor.format)

    def hold(self, value: Any, format: Format) -> None:
        """Take what the kernel set made of a tensor of this format."""
        self.value, self.format = value, format


class Layer:
    """A part of a model: it holds parameters and other layers, and is called with activations."""

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter below this layer, in order of declaration, each once."""
        seen: set[int] = set()
        for parameter in self._walk():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter

    def _walk(self) -> Iterator[Parameter]:
        for member in vars(self).values():
            for part in member if isinstance(member, list | tuple) else (member,):
                if isinstance(part, Parameter):
                    yield part
                elif isinstance(part, Layer):
                    yield from part._walk()
