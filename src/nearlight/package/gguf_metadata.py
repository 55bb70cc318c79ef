"""The metadata of a GGUF file, with its types checked on the way out.

A key that is missing or of the wrong type is named together with its file, so nothing downstream checks again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from nearlight.errors import PackageError, UnsupportedError
from nearlight.package.string_table import StringTable


@dataclass(frozen=True)
class Metadata:
    """Keys and values of one file.

    Every typed reading takes a default for a missing key; with none, the key is required.
    Raises (each reading): PackageError when the key is missing or of another type or out of range.
    """

    path: Path
    values: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def integer(self, key: str, default: int | None = None, least: int = 0, most: int = 2**31 - 1) -> int:
        """Read a whole number; an array with one entry per layer counts where all entries are equal."""
        value = self._get(key, default)
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.size:
            if (value != value[0]).any():
                raise UnsupportedError(f"metadata '{key}' differs from layer to layer", where=self.path)
            value = value[0].item()
        if type(value) is not int or not least <= value <= most:
            self._fail(key, f"a whole number from {least} to {most}", value)
        return value

    def number(self, key: str, default: float | None = None, above: float = -math.inf) -> float:
        """Read a finite number."""
        value = self._get(key, default)
        if type(value) not in (int, float) or not above < value < math.inf:
            self._fail(key, "a finite number" + (f" above {above}" if above > -math.inf else ""), value)
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            self._fail(key, "text", value)
        return value

    def texts(self, key: str) -> Sequence[str]:
        """Read an array of strings; a missing one is empty."""
        value = self.values.get(key, [])
        if isinstance(value, np.ndarray) and value.size == 0:
            return []  # writers give an empty array any element type
        if not isinstance(value, list | StringTable):
            self._fail(key, "an array of strings", value)
        return value

    def numbers(self, key: str) -> list[Any]:
        """Read an array of numbers; a missing one is empty."""
        value = self.values.get(key, [])
        if isinstance(value, np.ndarray):
            return value.tolist()  # type: ignore[no-any-return]
        if value != []:
            self._fail(key, "an array of numbers", value)
        return []

    def by_layer(self, key: str, n_layers: int) -> list[int]:
        """Read a whole number for each layer: an array of them, or one for all."""
        value = self._get(key, None)
        if not isinstance(value, np.ndarray):
            return [self.integer(key)] * n_layers
        if value.dtype.kind not in "iu" or len(value) != n_layers or not ((value >= 0) & (value < 2**31)).all():
            self._fail(key, f"{n_layers} whole numbers, one for each layer", value)
        return [int(number) for number in value]

    def flags(self, key: str, n: int) -> list[bool]:
        """Read an array of so many truth values."""
        value = self._get(key, None)
        if not (isinstance(value, np.ndarray) and value.dtype.kind == "b" and len(value) == n):
            self._fail(key, f"{n} truth values", value)
        return [bool(flag) for flag in value]

    def replacing(self, values: Mapping[str, Any]) -> Metadata:
        """Return the same metadata in which these keys have these values."""
        return Metadata(self.path, {**self.values, **values})

    def _get(self, key: str, default: Any) -> Any:
        if key not in self.values and default is None:
            raise PackageError(f"metadata '{key}' is missing", where=self.path)
        return self.values.get(key, default)

    def _fail(self, key: str, expected: str, value: object) -> NoReturn:
        raise PackageError(f"metadata '{key}'", where=self.path, expected=expected, found=_brief(value))


def _brief(value: object) -> str:
    if isinstance(value, list | StringTable | np.ndarray):
        return f"an array of {len(value)}"
    return repr(value)[:60]
