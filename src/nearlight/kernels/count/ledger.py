"""What a step costs, op by op, under the names that the CPU's tape uses.

Bytes are those that cannot stay in a processor's cache: weights, and keys and values. Activations are handed from op
to op in a few slots that do stay there; they are counted apart and are no part of `bytes_read`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """The cost of one op.

    `kind` is the op ("linear", "attend", …), `name` the weight's name where it has one. `operations` maps a data type
    ("int8", "int16", "bf16", "fp32") to how many additions and multiplications are done in it. `expected` marks a cost
    that depends on data and stands for its mean.
    """

    name: str
    kind: str
    weight_bytes: int = 0
    kv_read_bytes: int = 0
    kv_written_bytes: int = 0
    activation_bytes: int = 0
    operations: Mapping[str, int] = field(default_factory=dict)
    expected: bool = False

    @property
    def bytes_read(self) -> int:
        return self.weight_bytes + self.kv_read_bytes

    @property
    def bytes_written(self) -> int:
        return self.kv_written_bytes


class Ledger:
    """The entries of a step, and their sums."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = list(entries)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    @property
    def weight_bytes(self) -> int:
        return sum(entry.weight_bytes for entry in self.entries)

    @property
    def kv_read_bytes(self) -> int:
        return sum(entry.kv_read_bytes for entry in self.entries)

    @property
    def bytes_read(self) -> int:
        return sum(entry.bytes_read for entry in self.entries)

    @property
    def bytes_written(self) -> int:
        return sum(entry.bytes_written for entry in self.entries)

    @property
    def activation_bytes(self) -> int:
        return sum(entry.activation_bytes for entry in self.entries)

    @property
    def operations(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for entry in self.entries:
            total.update(entry.operations)
        return dict(total)

    @property
    def expected(self) -> bool:
        """Whether some cost is a mean over what data may choose."""
        return any(entry.expected for entry in self.entries)

    def by_name(self) -> dict[str, Ledger]:
        """Group the entries by name, in order of first appearance."""
        return self._grouped(lambda entry: entry.name)

    def by_kind(self) -> dict[str, Ledger]:
        return self._grouped(lambda entry: entry.kind)

    def _grouped(self, key: Callable[[Entry], str]) -> dict[str, Ledger]:
        groups: dict[str, Ledger] = {}
        for entry in self.entries:
            groups.setdefault(key(entry), Ledger()).add(entry)
        return groups
