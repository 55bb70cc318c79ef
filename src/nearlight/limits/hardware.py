"""Machines as their data sheets describe them: memory, its bandwidth, and dense peaks by data type.

The rows are data (`hardware.json`), each with the maker's address as `source`, so that a person can check one, or write
one for another machine in the same form. `confirmed_by` are pages on which its figures were read in November 2026, and
`unconfirmed` names those that were on none of them: known otherwise, or computed as the row's note says. Peaks are
without sparsity. A type that a machine has no faster path for is computed in the next wider one it has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from nearlight.errors import RequestError
from nearlight.limits import cache as caches
from nearlight.limits.cache import Cache

DATA_TYPES = ("int8", "int16", "bf16", "fp32")
"""From narrow to wide; a machine has at least the last."""

KINDS = ("gpu", "cpu")


@dataclass(frozen=True)
class Hardware:
    """A machine that bounds how fast a model can be.

    Units: bytes, bytes per second, operations per second (an addition and a multiplication are two). `label` says where
    the figures are from: "estimated" from a data sheet, "measured" on the machine itself. `bytes_per_s` is that of
    memory; `cache` is known where it was probed, data sheets do not tell it.
    """

    name: str
    kind: str
    memory_bytes: float
    bytes_per_s: float
    flops: Mapping[str, float]
    source: str
    label: str = "estimated"
    cache: Cache | None = None

    def __post_init__(self) -> None:
        numbers = {"memory_bytes": self.memory_bytes, "bytes_per_s": self.bytes_per_s, **self.flops}
        if self.cache:
            numbers |= {"cache n_bytes": self.cache.n_bytes, "cache bytes_per_s": self.cache.bytes_per_s}
        for key, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise RequestError(key, where=f"hardware {self.name}", expected="a positive number", found=repr(value))
        if "fp32" not in self.flops or not set(self.flops) <= set(DATA_TYPES):
            expected = "fp32, and perhaps bf16, int16 and int8"
            raise RequestError("flops", where=f"hardware {self.name}", expected=expected, found=", ".join(self.flops))
        if self.kind not in KINDS:
            raise RequestError("kind", where=f"hardware {self.name}", expected="gpu or cpu", found=repr(self.kind))

    def peak(self, data_type: str) -> float:
        """Return the operations per second in a data type, or in the next wider one that the machine has."""
        wider = DATA_TYPES[DATA_TYPES.index(data_type) :]
        return next(self.flops[name] for name in wider if name in self.flops)

    def reads_from(self, step_bytes: float) -> str:
        """Say from where steps of this size are read: "cache" or "memory"."""
        return caches.reads_from(step_bytes, self.cache)

    def read_bytes_per_s(self, step_bytes: float) -> float:
        """Return how fast steps of this size are read, one after the other."""
        return caches.bytes_per_s(step_bytes, self.bytes_per_s, self.cache)

    def bandwidth(self, source: str) -> float:
        """Return how fast memory, or the cache, is read."""
        return self.cache.bytes_per_s if source == "cache" and self.cache else self.bytes_per_s

    def at(self, source: str, bytes_per_s: float) -> Hardware:
        """Return the machine in a state in which memory, or the cache, was read this fast."""
        if source == "cache" and self.cache:
            return replace(self, cache=replace(self.cache, bytes_per_s=bytes_per_s))
        return replace(self, bytes_per_s=bytes_per_s)

    def for_step(self, step_bytes: float) -> Hardware:
        """Return the machine as all parts of such a step meet it, whatever their own size."""
        return replace(self, bytes_per_s=self.read_bytes_per_s(step_bytes), cache=None)

    def in_binary_units(self) -> Hardware:
        """Read the data sheet's giga and tera as powers of 1024, as the "blog" convention does; it knows no caches."""
        flops = {name: peak * 2**40 / 1e12 for name, peak in self.flops.items()}
        return replace(self, bytes_per_s=self.bytes_per_s * 2**30 / 1e9, flops=flops, cache=None)

    def as_json(self) -> dict[str, Any]:
        keys = ("name", "kind", "memory_bytes", "bytes_per_s", "source", "label")
        cache = asdict(self.cache) if self.cache else None
        return {key: getattr(self, key) for key in keys} | {"flops": dict(self.flops), "cache": cache}

    @staticmethod
    def from_json(row: object, where: object = "hardware") -> Hardware:
        """Read a row as a person may write one. Raises: RequestError naming what is missing or senseless."""
        if not isinstance(row, dict):
            raise RequestError("a machine", where=where, expected="a JSON object", found=type(row).__name__)
        keys = ("name", "memory_bytes", "bytes_per_s", "flops")
        missing = [key for key in keys if key not in row]
        if missing:
            raise RequestError(", ".join(missing), where=where, expected="a row with " + ", ".join(keys), found="none")
        if not isinstance(row["flops"], dict):
            raise RequestError("flops", where=where, expected='an object like {"fp32": 5e11}', found=repr(row["flops"]))
        return Hardware(
            str(row["name"]),
            row.get("kind", "gpu"),
            row["memory_bytes"],
            row["bytes_per_s"],
            row["flops"],
            str(row.get("source", where)),
            str(row.get("label", "estimated")),
            _cache(row.get("cache"), where),
        )


@cache
def known_hardware() -> Mapping[str, Hardware]:
    """Return the machines of `hardware.json` by their short name ("rtx4090")."""
    from importlib import resources

    rows = json.loads(resources.files("nearlight.limits").joinpath("hardware.json").read_text("utf-8"))
    return {short: Hardware.from_json(row, f"hardware.json: {short}") for short, row in rows.items()}


def find_hardware(name: str) -> Hardware:
    """Return the machine of a short name, however it is spelled ("RTX 4090", "rtx-4090").

    Raises: RequestError that suggests the nearest names.
    """
    import difflib

    known = known_hardware()
    plain = _plain(name)
    if plain not in known:
        near = difflib.get_close_matches(plain, known, n=3, cutoff=0.5)
        raise RequestError(
            "hardware",
            expected="one of " + ", ".join(near or known),
            found=repr(name),
            advice="or give a JSON file with name, memory_bytes, bytes_per_s and flops",
        )
    return known[plain]


def _cache(value: object, where: object) -> Cache | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not {"n_bytes", "bytes_per_s"} <= value.keys():
        raise RequestError("cache", where=where, expected="an object with n_bytes and bytes_per_s", found=repr(value))
    return Cache(value["n_bytes"], value["bytes_per_s"])


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
