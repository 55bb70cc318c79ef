"""Reads a model's config: each value checked when it is asked for, and every complaint names the key.

Configs come from strangers, and class defaults stand for keys that vendors leave out (docs/formats.md). A number that
something is built or allocated by is read as a `size` or as `layers`, which the tensors must confirm first: a family is
given a reader with those bounds, and no raw config, so that it cannot forget them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from nearlight.errors import PackageError
from nearlight.layers.rope import MOST_POSITIONS, float_of

_MISSING = object()


@dataclass(frozen=True)
class Bounds:
    """The most that a config's sizes and its number of layers can be; these defaults where there are no tensors."""

    size: int = 1 << 24
    layers: int = 10_000
    confirmed: bool = False

    @classmethod
    def of(cls, shapes: Iterable[tuple[int, ...]]) -> Bounds:
        """Take them from a package's tensors: a size is an axis or divides one, and a layer has a tensor of its own.

        A tensor without values shows nothing: its other axes cost a file no bytes.
        """
        held = [shape for shape in shapes if shape and 0 not in shape]
        return cls(max((max(shape) for shape in held), default=0), len(held), confirmed=True)


class ConfigReader:
    """Typed access to the keys of a config. Raises (each reading): PackageError naming the key."""

    def __init__(self, config: Mapping[str, Any], where: object = "config.json", bounds: Bounds | None = None) -> None:
        self._config = config
        self._where = where
        self._bounds = bounds or Bounds()

    def with_defaults(self, **defaults: Any) -> ConfigReader:
        """Return a reader to which these values stand for keys that the config leaves out."""
        return self.replacing(**{key: value for key, value in defaults.items() if not self.has(key)})

    def replacing(self, **values: Any) -> ConfigReader:
        """Return a reader of the same config in which these keys have these values."""
        return ConfigReader({**self._config, **values}, self._where, self._bounds)

    def size(self, key: str, default: Any = _MISSING) -> int:
        """Return a positive integer that is no larger than the largest axis of the tensors."""
        value = self.positions(key, default)
        if value > self._bounds.size:
            self._refuse_beyond(key, value, self._bounds.size, "the largest axis of its tensors")
        return value

    def layers(self, key: str, default: Any = _MISSING) -> int:
        """Return a positive integer that is no larger than the number of tensors."""
        value = self.positions(key, default)
        if value > self._bounds.layers:
            self._refuse_beyond(key, value, self._bounds.layers, "the number of its tensors")
        return value

    def positions(self, key: str, default: Any = _MISSING) -> int:
        """Return a positive integer that nothing is built or allocated by: a length of texts, a window, a step."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST_POSITIONS:
            self._refuse(key, "a positive integer", value)
        return value

    def count(self, key: str, default: Any = _MISSING) -> int:
        """Return an integer as `positions` does, or 0."""
        value = self._value(key, default)
        return 0 if value == 0 and not isinstance(value, bool) else self.positions(key, default)

    def number(self, key: str, default: Any = _MISSING) -> float:
        """Return a positive finite number."""
        value = self._value(key, default)
        number = float_of(value)
        if number is None or number <= 0:
            self._refuse(key, "a positive number", value)
        return number

    def flag(self, key: str, default: bool) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            self._refuse(key, "true or false", value)
        return value

    def switch(self, key: str, default: bool) -> bool:
        """Return a flag that some write as a number, of which 0 is false."""
        value = self._value(key, default)
        return self.count(key) > 0 if type(value) is int else self.flag(key, default)

    def has(self, key: str) -> bool:
        return self._config.get(key) is not None

    def is_off(self, key: str) -> bool:
        """Whether a key is there and null, which is not the same as left out."""
        return key in self._config and self._config[key] is None

    def items(self, key: str, kind: type) -> list[Any]:
        """Return a list of values of one type, integers being floats too; a missing one is empty."""
        value, kinds = self._value(key, []), (int, float) if kind is float else (kind,)
        if not isinstance(value, list | tuple) or not all(type(item) in kinds for item in value):
            self._refuse(key, f"a list of {kind.__name__}", value)
        return list(value)

    def factors(self, key: str, length: int) -> list[float]:
        """Return so many positive finite numbers; where there are none, as many ones."""
        values = self.items(key, float) or [1.0] * length
        factors = [number for value in values if (number := float_of(value)) is not None and number > 0]
        if len(factors) != length or len(values) != length:
            self._refuse(key, f"a list of {length} positive numbers", values)
        return factors

    def choice(self, key: str, choices: Mapping[str, str], default: str) -> str:
        """Return what a name stands for. Raises: PackageError listing the names that are known."""
        value = self._value(key, default)
        if not isinstance(value, str) or value not in choices:
            self._refuse(key, "one of " + ", ".join(choices), value)
        return choices[value]

    def text(self, key: str, default: Any = _MISSING) -> str:
        value = self._value(key, default)
        if not isinstance(value, str):
            self._refuse(key, "text", value)
        return value

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self._value(key, {})
        if not isinstance(value, Mapping):
            self._refuse(key, "an object", value)
        return value

    def require(self, fits: bool, key: str, expected: str, found: object) -> None:
        """Refuse a value that contradicts another one of the config."""
        if not fits:
            self._refuse(key, expected, found)

    def _value(self, key: str, default: Any) -> Any:
        value = self._config.get(key)
        if value is None:
            if default is _MISSING:
                raise PackageError(f"{key} is missing", where=self._where)
            return default
        return value

    def _refuse(self, key: str, expected: str, found: object) -> NoReturn:
        raise PackageError(key, where=self._where, expected=expected, found=shown(found))

    def _refuse_beyond(self, key: str, value: int, most: int, shown_by: str) -> NoReturn:
        known = self._bounds.confirmed
        raise PackageError(
            key,
            where=self._where,
            expected=f"at most {most}" + (f", {shown_by}" if known else ""),
            found=value,
            advice="the config and the weights are of different models" if known else None,
        )


def shown(value: object) -> str:
    """Return a value as a message shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"
