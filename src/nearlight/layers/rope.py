"""Rotary position embedding: which frequencies, and how each kind of scaling stretches them.

The kinds differ only in a vector of frequencies and one magnitude, so every family rotates alike and a new kind is
one function here. Frequencies follow transformers' arithmetic in float32, since a last-bit difference grows with
the position.

Two kinds have other frequencies for longer sequences, and what becomes of keys in the cache then is part of the kind:
dynamic scaling leaves them as they are, and longrope's are computed again.

Source: arXiv:2104.09864; linear arXiv:2306.15595; yarn arXiv:2309.00071; longrope arXiv:2402.13753; llama3 as in the
Llama 3.1 release.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearlight.errors import PackageError, UnsupportedError
from nearlight.kernels.ops import Array, Float32, Ops, Rows

MOST_POSITIONS = 2**31 - 1
"""Positions are 32-bit integers."""


@dataclass(frozen=True)
class RopeScaling:
    """Frequencies [rotary/2] by a sequence's length, the factor on cos and sin, and the positions this is good for.

    `rewrites`: keys made with other frequencies than their sequence has now are no good any more.
    """

    frequencies: Callable[[int], Float32]
    max_positions: int
    magnitude: float = 1.0
    rewrites: bool = False

    def of_rows(self, lengths: Sequence[int]) -> Float32:
        """Return the frequencies of rows whose sequences have so many tokens, as `kernels.ops.Frequencies` does."""
        found = {length: self.frequencies(length) for length in set(lengths)}
        first = found[lengths[0]]
        if all(each is first for each in found.values()):
            return first
        return np.stack([found[length] for length in lengths])

    def alike(self, length: int, other: int) -> bool:
        """Say whether sequences of so many tokens, and of so many, have the same frequencies."""
        return np.array_equal(self.frequencies(length), self.frequencies(other))


class Rope:
    """Gives the angles of a step's rows, to be shared by its layers."""

    def __init__(self, ops: Ops, parameters: Mapping[str, Any], rotary_dim: int, max_positions: int) -> None:
        self.ops = ops
        self.scaling = rope_scaling(parameters, rotary_dim, max_positions)

    def angles(self, rows: Rows) -> Array:
        return self.ops.rope_angles(rows, self.scaling.of_rows, self.scaling.magnitude)


def rope_scaling(parameters: Mapping[str, Any], rotary_dim: int, max_positions: int) -> RopeScaling:
    """Build the scaling that a config's `rope_parameters` describe.

    Raises: UnsupportedError for an unknown rope_type; PackageError for a missing or senseless number.
    """
    kind = str(parameters.get("rope_type", "default"))
    if kind not in _KINDS:
        raise UnsupportedError(
            "rope_type", where="config.json: rope_parameters", expected="one of " + ", ".join(_KINDS), found=kind
        )
    if rotary_dim < 2 or rotary_dim % 2:
        raise PackageError("head_dim", where="config.json", expected="a positive even number", found=rotary_dim)
    try:
        with np.errstate(all="ignore"):
            scaling = _KINDS[kind](_Settings(parameters), rotary_dim, max_positions)
            all_lengths = [scaling.frequencies(length) for length in (1, scaling.max_positions)]
    except (ArithmeticError, ValueError) as error:  # overflow, a division by zero, a root or logarithm of what has none
        raise _senseless(f"{error}") from None
    if not (np.isfinite(all_lengths).all() and 0 < scaling.magnitude < math.inf):
        raise _senseless("infinite ones")
    return scaling


def float_of(value: object) -> float | None:
    """Return a number from JSON as a float; None for what is no number, or none that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer may have thousands of digits
        return None
    return number if math.isfinite(number) else None


def _senseless(found: str) -> PackageError:
    expected = "numbers that give finite frequencies"
    return PackageError("rope_parameters", where="config.json", expected=expected, found=found)


class _Settings:
    """The numbers of `rope_parameters`, each checked when it is asked for."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters

    def __call__(self, key: str, default: float | None = None, least: float = 0.0) -> float:
        value = self._parameters.get(key)
        number = float_of(default if value is None else value)
        if number is None or number <= least:
            raise PackageError(
                key, where="config.json: rope_parameters", expected=f"a number above {least:g}", found=repr(value)[:60]
            )
        return number

    def has(self, key: str) -> bool:
        return self._parameters.get(key) is not None

    def flag(self, key: str, default: bool) -> bool:
        return bool(self._parameters.get(key, default))

    @property
    def theta(self) -> float:
        return self("rope_theta", 10000.0)

    def numbers(self, key: str, count: int) -> Float32:
        given = self._parameters.get(key)
        items = [float_of(item) for item in given] if isinstance(given, list | tuple) and len(given) == count else [0.0]
        values = np.array([0.0 if item is None else item for item in items], np.float32)
        if len(values) != count or not np.isfinite(values).all() or (values <= 0).any():
            raise PackageError(
                key, where="rope_parameters", expected=f"{count} positive numbers", found=repr(given)[:60]
            )
        return values


def _plain(theta: float, rotary_dim: int) -> Float32:
    frequencies: Float32 = np.float32(1) / _slowness(theta, rotary_dim)
    return frequencies


def _slowness(theta: float, rotary_dim: int) -> Float32:
    exponents = np.arange(0, rotary_dim, 2, dtype=np.float32) / np.float32(rotary_dim)
    slowness: Float32 = np.power(np.float32(theta), exponents, dtype=np.float32)
    return slowness


def _fixed(frequencies: Float32, max_positions: int, magnitude: float = 1.0) -> RopeScaling:
    frequencies = frequencies.astype(np.float32)
    return RopeScaling(lambda length: frequencies, max_positions, magnitude)


def _default(settings: _Settings, rotary_dim: int, max_positions: int) -> RopeScaling:
    return _fixed(_plain(settings.theta, rotary_dim), max_positions)


def _linear(settings: _Settings, rotary_dim: int, max_positions: int) -> RopeScaling:
    return _fixed(_plain(settings.theta, rotary_dim) / np.float32(settings("factor")), max_positions)


def _divisors(settings: _Settings, rotary_dim: int, max_positions: int) -> RopeScaling:
    """Each frequency divided by a stored number, as GGUF files keep llama3 scaling."""
    return _fixed(_plain(settings.theta, rotary_dim) / settings.numbers("divisors", rotary_dim // 2), max_positions)


def _proportional(settings: _Settings, rotary_dim: int, max_positions: int) -> RopeScaling:
    """A part of the pairs turns, with the frequencies that it would have if all did. `rotary_dim` is the whole head's.

    Source: Gemma 4's release.
    """
    frequencies = _plain(settings.theta, rotary_dim) / np.float32(settings("factor", 1.0))
    frequencies[int(settings("partial_rotary_factor", 1.0) * rotary_dim // 2) :] = 0
    return _fixed(frequencies, max_positions)


def _dynamic(settings: _Settings, rotary_dim: int, max_positions: int) -> RopeScaling:
    """A base that grows with the length of the sequence once it passes the trained one."""
    factor, theta = settings("factor"), settings.theta
    trained = int(settings("original_max_position_embeddings", max_positions))
    unscaled = _plain(theta, rotary_dim)
    power = rotary_dim / (rotary_dim - 2) if rotary_dim > 2 else 1.0

    def frequencies(length: int) -> Float32:
        if length <= trained:
            return unscaled
        return _plain(theta * (factor * length / trained - (factor - 1)) ** power, rotary_dim)

    return RopeScaling(frequencies, max(max_positions, int(min(factor * trained, MOST_POSITIONS))))


def _longrope(settings: _Settings, rotary_dim: int, max_positions: int) -> RopeScaling:
    """Each frequency divided by a number of its own, another one in sequences that are longer than the trained ones."""
    trained = settings("original_max_position_embeddings", max_positions)
    factor = settings("factor", max_positions / trained)
    stretched = math.sqrt(1 + math.log(factor) / math.log(trained)) if factor > 1 else 1.0
    short, long = (
        np.float32(1) / (settings.numbers(f"{which}_factor", rotary_dim // 2) * _slowness(settings.theta, rotary_dim))
        for which in ("short", "long")
    )
    magnitude = settings("attention_factor", stretched)
    return RopeScaling(lambda length: long if length > trained else short, max_positions, magnitude, rewrites=True)


def _llama3(settings: _Settings, rotary_dim: int, max_positions: int) -> RopeScaling:
    """Long waves slowed by `factor`, short ones kept, those between blended by how often they turn in the context."""
    factor = settings("factor")
    low, high = settings("low_freq_factor"), settings("high_freq_factor")
    trained = settings("original_max_position_embeddings")
    if high < low:
        raise PackageError("high_freq_factor", where="config.json: rope_parameters", expected=f">= {low}", found=high)
    plain = _plain(settings.theta, rotary_dim)
    wavelength = 2 * math.pi / plain
    blend = (trained / wavelength - low) / (high - low if high > low else 1)
    blended = (1 - blend) * plain / factor + blend * plain
    slowed = np.where(wavelength > trained / low, plain / factor, blended)
    return _fixed(np.where(wavelength < trained / high, plain, slowed), max_positions)


def _yarn(settings: _Settings, rotary_dim: int, max_positions: int) -> RopeScaling:
    """Frequencies interpolated along a ramp from fast to slow ones, and attention sharpened by a magnitude."""
    theta = settings.theta
    trained = settings("original_max_position_embeddings", max_positions)
    factor = settings("factor", max_positions / trained)

    def dimension(turns: float) -> float:
        return rotary_dim * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(settings("beta_fast", 32)), dimension(settings("beta_slow", 1))
    if settings.flag("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotary_dim - 1)
    ramp = np.arange(rotary_dim // 2, dtype=np.float32) - low
    ramp = np.clip(ramp / (high - low if high != low else 0.001), 0, 1)
    plain = _plain(theta, rotary_dim)
    return _fixed(plain / factor * ramp + plain * (1 - ramp), max_positions, _yarn_magnitude(settings, factor))


def _yarn_magnitude(settings: _Settings, factor: float) -> float:
    def growth(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0

    if settings.has("attention_factor"):
        return settings("attention_factor")
    if settings.has("mscale") and settings.has("mscale_all_dim"):
        return growth(settings("mscale")) / growth(settings("mscale_all_dim"))
    return growth(1.0)


_Build = Callable[[_Settings, int, int], RopeScaling]
_KINDS: dict[str, _Build] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
    "divisors": _divisors,
    "proportional": _proportional,
}
