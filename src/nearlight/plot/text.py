"""Numbers as pictures show them: short, never in powers of ten."""

from __future__ import annotations


def tick_text(value: float) -> str:
    """Write a number at a tick: "0.05", "4096", "32k"."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e4 else f"{value:g}"


def value_text(value: float) -> str:
    """Write a value to three digits: "0.0123", "9.53", "40960"."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def speed_text(value: float) -> str:
    """Write a speed with one digit after the point below ten: "0.5", "9.5", "861"."""
    return f"{value:.2g}" if abs(value) < 0.1 else f"{value:.1f}" if abs(value) < 10 else f"{value:.0f}"
