"""Figures as people read them: short, with the unit, in the same way everywhere."""

from __future__ import annotations

from nearlight.quantities import significant


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
