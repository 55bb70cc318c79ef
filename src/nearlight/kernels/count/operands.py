"""What counting ops are given besides activations: parameters, stores and routes, as shapes and numbers of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from nearlight.dtypes import Format
from nearlight.errors import ShapeError
from nearlight.kernels.count.target import Target
from nearlight.package.tensors import StoredTensor


class CountedWeight:
    """A matrix of which only the shape and the format are known."""

    def __init__(self, tensor: StoredTensor, target: Target) -> None:
        if len(tensor.shape) != 2:
            raise ShapeError(f"matrix {tensor.name}", expected="two axes", found=list(tensor.shape))
        self.name = tensor.name
        self.format = tensor.format
        n_out, n_in = tensor.shape
        self.shape = (n_out, n_in)
        self.n_bytes = target.matrix_bytes(tensor.format, n_out, n_in)
        self.data_type = target.multiplied_in(tensor.format)


class CountedTable:
    """A matrix that stays in its file: it takes no memory, and a row that is looked up is read from the file."""

    n_bytes = 0

    def __init__(self, tensor: StoredTensor) -> None:
        self.name, self.width = tensor.name, tensor.row_length
        self.row_bytes = tensor.format.row_bytes(tensor.row_length)


class CountedVector:
    """A small parameter, kept as float32."""

    def __init__(self, tensor: StoredTensor) -> None:
        self.name = tensor.name
        self.size = tensor.n_rows * tensor.row_length
        self.n_bytes = 4 * self.size


class CountedKVStore:
    """Keys and values of one attention layer as numbers of tokens."""

    def __init__(self, n_kv_heads: int, head_dim: int, format: Format, target: Target) -> None:
        self.n_kv_heads, self.head_dim = n_kv_heads, head_dim
        self.token_bytes = target.kv_token_bytes(n_kv_heads, head_dim, format)
        self.operations = target.attention_operations(format)
        self._target = target
        self._room: dict[int, int] = {}
        self._released: dict[int, int] = {}

    def reserve(self, sequence: int, n_tokens: int) -> int:
        room = max(self._room.get(sequence, 0), self._target.kv_allocated_tokens(n_tokens))
        self._room[sequence] = room
        return room

    def copy(self, source: int, target: int, n_tokens: int) -> None:
        self._room[target] = 0
        self._released[target] = self._released.get(source, 0)
        self.reserve(target, n_tokens)

    def release(self, sequence: int, before: int) -> None:
        self._released[sequence] = max(self._released.get(sequence, 0), self._target.kv_released_tokens(before))

    def clear(self, sequence: int) -> None:
        pass  # there is nothing in it

    def free(self, sequence: int) -> None:
        self._room.pop(sequence, None)
        self._released.pop(sequence, None)

    @property
    def n_bytes(self) -> int:
        return self.token_bytes * (sum(self._room.values()) - sum(self._released.values()))


@dataclass(frozen=True)
class CountedRoutes:
    """How many rows go to how many of the experts."""

    n_rows: int
    n_experts: int
    n_chosen: int


class CountedRecurrentStore:
    """States of one recurrence, as the number of places that each sequence has."""

    def __init__(self, size: int) -> None:
        self.state_bytes = 4 * size
        self._places: dict[int, int] = {}

    def reserve(self, sequence: int) -> None:
        self._places[sequence] = 2

    def use(self, sequence: int, place: int) -> None:
        pass  # there is nothing in it

    def copy(self, source: int, target: int) -> None:
        self._places.setdefault(target, 1)

    def clear(self, sequence: int) -> None:
        pass

    def free(self, sequence: int) -> None:
        self._places.pop(sequence, None)

    @property
    def n_bytes(self) -> int:
        return self.state_bytes * sum(self._places.values())
