"""What a step costs, op by op, under the names that the CPU's tape uses.

Bytes are those that cannot stay in a processor's cache: weights, and keys and values. Activations are handed from op
to op in a few slots that do stay there; they are counted apart and are no part of `bytes_read`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class OpCost:
    """The cost of one op.

    `kind` is the op ("linear", "attend", …), `name` the weight's name where it has one. `operations` maps a data type
    ("int8", "int16", "bf16", "fp32") to how many additions and multiplications are done in it. `expected` marks a cost
    that depends on data and stands for its mean. `file_bytes` are read from tables that stay in their files, of which a
    row is so little beside a model that they are no part of `bytes_read` either.
    """

    name: str
    kind: str
    weight_bytes: int = 0
    kv_read_bytes: int = 0
    kv_written_bytes: int = 0
    activation_bytes: int = 0
    file_bytes: int = 0
    operations: Mapping[str, int] = field(default_factory=dict)
    expected: bool = False

    @property
    def bytes_read(self) -> int:
        return self.weight_bytes + self.kv_read_bytes

    @property
    def bytes_written(self) -> int:
        return self.kv_written_bytes


class StepCost:
    """The costs of a step's ops, and their sums."""

    def __init__(self, ops: Iterable[OpCost] = ()) -> None:
        self.ops = list(ops)

    def add(self, op: OpCost) -> None:
        self.ops.append(op)

    def __iter__(self) -> Iterator[OpCost]:
        return iter(self.ops)

    @property
    def weight_bytes(self) -> int:
        return sum(op.weight_bytes for op in self.ops)

    @property
    def kv_read_bytes(self) -> int:
        return sum(op.kv_read_bytes for op in self.ops)

    @property
    def bytes_read(self) -> int:
        return sum(op.bytes_read for op in self.ops)

    @property
    def bytes_written(self) -> int:
        return sum(op.bytes_written for op in self.ops)

    @property
    def activation_bytes(self) -> int:
        return sum(op.activation_bytes for op in self.ops)

    @property
    def file_bytes(self) -> int:
        return sum(op.file_bytes for op in self.ops)

    @property
    def operations(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for op in self.ops:
            total.update(op.operations)
        return dict(total)

    @property
    def expected(self) -> bool:
        """Whether some cost is a mean over what data may choose."""
        return any(op.expected for op in self.ops)

    def by_name(self) -> dict[str, StepCost]:
        """Group the ops by name, in order of first appearance."""
        return self._grouped(lambda op: op.name)

    def by_kind(self) -> dict[str, StepCost]:
        return self._grouped(lambda op: op.kind)

    def _grouped(self, key: Callable[[OpCost], str]) -> dict[str, StepCost]:
        groups: dict[str, StepCost] = {}
        for op in self.ops:
            groups.setdefault(key(op), StepCost()).add(op)
        return groups
