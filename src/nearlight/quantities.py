"""Numbers of bytes and of tokens as people write them: 8k, 500M, 1.5G, 2GiB. Here they are read and written.

k, M, G and T count in thousands, as disks and bandwidths are sold; Ki, Mi, Gi and Ti in 1024s, as memory is. Capital or
not makes no difference, a B behind the unit is allowed where bytes are meant, and a fraction must come out whole.

Source: IEC 80000-13 (binary prefixes).
"""

from __future__ import annotations

import re
from fractions import Fraction

from nearlight.errors import RequestError

_NUMBER = re.compile(r"(?P<number>\d{1,18}(?:\.\d{1,18})?)\s?(?P<unit>[a-z]*)", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1} | {
    f"{letter}{binary}": (1024 if binary else 1000) ** power
    for power, letter in enumerate("kmgt", start=1)
    for binary in ("", "i")
}
_MOST = 10**18


def read_bytes(text: str, where: str) -> int:
    """Read a number of bytes: "500M", "1.5 GiB", "4096". Raises: RequestError naming `where` it was given."""
    return _read(text, where, "a number of bytes, like 500M or 1.5GiB", unit="b")


def read_count(text: str, where: str) -> int:
    """Read a number of tokens or rows: "8k", "8192", "32Ki". Raises: RequestError naming `where` it was given."""
    return _read(text, where, "a whole number, like 4096, 8k (8000) or 8Ki (8192)")


def memory_text(n_bytes: float, digits: int = 2) -> str:
    """Write an amount of memory in binary units, as memory is built and sold: a 24 GB card has "24 GiB"."""
    size, unit = float(n_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 999.5 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if size == round(size) else f"{significant(size, digits)} {unit}"


def bytes_text(n_bytes: float, digits: int = 2) -> str:
    """Write a size in decimal units, as disks and bandwidths are sold: "8.2 GB"."""
    size, unit = float(n_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 999.5 or unit == "TB":
            break
        size = max(size / 1000, 1.0)
    return f"{size:.0f} {unit}" if unit == "B" else f"{significant(size, digits)} {unit}"


def number_of(count: int, thing: str) -> str:
    """Write how many there are of something: "1 thread", "2 threads"."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def significant(value: float, digits: int = 2) -> str:
    """Write a number with at least `digits` significant digits, and all of its integer part: "812", "8.2", "0.31"."""
    if value == 0:
        return "0"
    decimals = 0
    while abs(value) < 10 ** (digits - 1 - decimals) and decimals < 6:
        decimals += 1
    return f"{value:.{decimals}f}"


def _read(text: str, where: str, expected: str, unit: str = "") -> int:
    match = _NUMBER.fullmatch(text.strip())
    factor = _UNITS.get(match["unit"].lower().removesuffix(unit)) if match else None
    value = Fraction(match["number"]) * factor if match and factor else None
    if value is None or value.denominator != 1 or value > _MOST:
        raise RequestError(where, expected=expected, found=repr(text))
    return int(value)
