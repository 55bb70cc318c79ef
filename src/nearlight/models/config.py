"""Reads a model's config: each value checked when it is asked for, and every complaint names the key.

Configs come from strangers, and class defaults stand for keys that vendors leave out (docs/formats.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nearlight.errors import PackageError

_MISSING = object()
_MOST = 2**31 - 1


class ConfigReader:
    """Typed access to the keys of a config."""

    def __init__(self, config: Mapping[str, Any], where: str = "config.json") -> None:
        self._config = config
        self._where = where

    def size(self, key: str, default: Any = _MISSING) -> int:
        """Return a positive integer."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MOST:
            raise PackageError(key, where=self._where, expected="a positive integer", found=repr(value))
        return value

    def count(self, key: str, default: Any = _MISSING) -> int:
        """Return an integer that may be 0."""
        value = self._config.get(key)
        return 0 if value == 0 and not isinstance(value, bool) else self.size(key, default)

    def number(self, key: str, default: Any = _MISSING) -> float:
        """Return a positive finite number."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise PackageError(key, where=self._where, expected="a positive number", found=repr(value))
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise PackageError(key, where=self._where, expected="true or false", found=repr(value))
        return value

    def choice(self, key: str, choices: Mapping[str, str], default: str) -> str:
        """Return what a name stands for. Raises: PackageError listing the names that are known."""
        value = self._value(key, default)
        if not isinstance(value, str) or value not in choices:
            raise PackageError(key, where=self._where, expected="one of " + ", ".join(choices), found=repr(value))
        return choices[value]

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self._value(key, {})
        if not isinstance(value, Mapping):
            raise PackageError(key, where=self._where, expected="an object", found=repr(value))
        return value

    def multiple(self, key: str, of: str) -> None:
        """Check that one size is a multiple of another."""
        value, divisor = self.size(key), self.size(of)
        if value % divisor:
            raise PackageError(key, where=self._where, expected=f"a multiple of {of} ({divisor})", found=value)

    def _value(self, key: str, default: Any) -> Any:
        value = self._config.get(key)
        if value is None:
            if default is _MISSING:
                raise PackageError(f"{key} is missing", where=self._where)
            return default
        return value
