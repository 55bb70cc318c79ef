"""Numbers as people write and read them: 8k, 500M and 2GiB are read; figures are written short, with a unit.

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


def count_text(count: float) -> str:
    """Write a number of parameters: "596 M", "7.62 B"."""
    for factor, unit in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")):
        if count >= 0.9995 * factor:
            return f"{significant(max(count / factor, 1.0), 3)}{unit}"
    return f"{count:.0f}"


def seconds_text(seconds: float) -> str:
    """Write a duration: "0.03 s", "4.2 s", "2 min 5 s"."""
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def latency_text(seconds: float) -> str:
    """Write a time that may be short, to three digits: "86.4 µs", "6.80 ms", "143 ms", "1.54 s"."""
    if seconds < 0.9995e-3:
        return f"{significant(1e6 * seconds, 3)} µs"
    if seconds < 0.9995:
        return f"{significant(1000 * seconds, 3)} ms"
    return f"{significant(seconds, 3)} s" if seconds < 59.95 else seconds_text(seconds)


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
