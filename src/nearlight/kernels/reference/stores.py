"""What layers keep between steps, as tensors: keys and values, states of recurrences."""

from __future__ import annotations

import torch

from nearlight.dtypes import F16, Q8_0, Format
from nearlight.errors import ShapeError

KEY_GROUP = 32
"""Dimensions of a key in 8 bits that share a scale."""


class TorchKVStore:
    """Keys and values of each sequence as two tensors [S, K, D], the first of them at position `_first`.

    Q8_0 is kept as the floats that its codes and scales stand for.
    """

    def __init__(self, n_kv_heads: int, head_dim: int, format: Format, device: torch.device) -> None:
        self._shape = (n_kv_heads, head_dim)
        self._format = format
        self._dtype = torch.float16 if format is F16 else torch.float32
        self._device = device
        self._entries: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._first: dict[int, int] = {}

    def reserve(self, sequence: int, n_tokens: int) -> int:
        empty = torch.zeros(0, *self._shape, dtype=self._dtype, device=self._device)
        keys, values = self._entries.get(sequence, (empty, empty))
        kept = self._first.get(sequence, 0) + len(keys)
        missing = n_tokens - kept
        if missing > 0:
            room = torch.zeros(missing, *self._shape, dtype=self._dtype, device=self._device)
            self._entries[sequence] = torch.cat([keys, room]), torch.cat([values, room])
        return max(n_tokens, kept)

    def copy(self, source: int, target: int, n_tokens: int) -> None:
        self._first[target] = first = self._first.get(source, 0)
        keys, values = self.entry(source, first, n_tokens)
        self._entries[target] = keys.clone(), values.clone()

    def release(self, sequence: int, before: int) -> None:
        first = self._first.get(sequence, 0)
        if before > first:
            keys, values = self.entry(sequence, before, first + len(self._entries[sequence][0]))
            self._entries[sequence] = keys.clone(), values.clone()
            self._first[sequence] = before

    def clear(self, sequence: int) -> None:
        for kept in self._entries.get(sequence, ()):
            kept.zero_()

    def free(self, sequence: int) -> None:
        self._entries.pop(sequence, None)
        self._first.pop(sequence, None)

    def append(self, sequence: int, positions: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
        """Write tokens. Shapes: positions [T]; k, v [T, K, D]."""
        if self._format is Q8_0:
            k, v = _eight_bits(k, KEY_GROUP), _eight_bits(v, v.shape[-1])
        keys, values = self._entries[sequence]
        positions = positions - self._first.get(sequence, 0)
        keys[positions], values[positions] = k.to(self._dtype), v.to(self._dtype)

    def entry(self, sequence: int, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values of positions start … stop-1. Shapes: [stop - start, K, D]."""
        first, (keys, values) = self._first.get(sequence, 0), self._entries[sequence]
        if start < first:
            raise ShapeError(
                "keys and values", expected=f"positions from {first}, those before were released", found=start
            )
        return keys[start - first : stop - first], values[start - first : stop - first]

    @property
    def head_dim(self) -> int:
        return self._shape[1]

    @property
    def n_bytes(self) -> int:
        return sum(2 * keys.numel() * keys.element_size() for keys, _ in self._entries.values())

    @property
    def token_bytes(self) -> int:
        n_kv_heads, head_dim = self._shape
        return 2 * n_kv_heads * head_dim * self._dtype.itemsize


class TorchRecurrentStore:
    """Up to two tensors [size] a sequence, by place, and the place in use."""

    def __init__(self, size: int, device: torch.device) -> None:
        self._size, self._device = size, device
        self._places: dict[int, dict[int, torch.Tensor]] = {}
        self._used: dict[int, int] = {}

    def reserve(self, sequence: int) -> None:
        for place in range(2):
            self._places.setdefault(sequence, {}).setdefault(place, torch.zeros(self._size, device=self._device))

    def use(self, sequence: int, place: int) -> None:
        self._used[sequence] = place

    def read(self, sequence: int) -> torch.Tensor:
        return self._places[sequence][self._used.get(sequence, 0)]

    def write(self, sequence: int, state: torch.Tensor) -> None:
        self._places[sequence][1 - self._used.get(sequence, 0)] = state.reshape(-1)

    def copy(self, source: int, target: int) -> None:
        self._places.setdefault(target, {})[self._used.get(target, 0)] = self.read(source).clone()

    def clear(self, sequence: int) -> None:
        self._places[sequence][self._used.get(sequence, 0)] = torch.zeros(self._size, device=self._device)

    def free(self, sequence: int) -> None:
        self._places.pop(sequence, None)
        self._used.pop(sequence, None)

    @property
    def n_bytes(self) -> int:
        return 4 * self._size * sum(len(places) for places in self._places.values())


def _eight_bits(x: torch.Tensor, group_size: int) -> torch.Tensor:
    """Round to what 8-bit codes with an f16 scale per group of the last axis stand for."""
    groups = []
    for start in range(0, x.shape[-1], group_size):
        group = x[..., start : start + group_size].float()
        scale = (group.abs().amax(-1, keepdim=True) / 127).half().float()
        inverse = torch.where(scale > 0, 1 / scale, 0)
        groups.append((group * inverse).clamp(-127, 127).round() * scale)
    return torch.cat(groups, dim=-1)
