"""What a picture shows, as plain data: panels in rows; in each, lines and notes on two axes with units.

Numbers in it are short, and never in powers of ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GREY = -1
"""The colour of what is no result: ceilings, limits of memory. Others are numbered, and told apart by everybody."""

KINDS = ("line", "dashed", "dotted", "points", "hollow")


@dataclass(frozen=True)
class Axis:
    """One axis of a panel. `ticks` None leaves them to the drawing; `low` and `high` None fit what is drawn."""

    name: str
    unit: str
    log: bool = False
    low: float | None = None
    high: float | None = None
    ticks: Sequence[float] | None = None

    @property
    def label(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    `label` is written beside the last point, or along the line with `along`. `errors` are half the height of error
    bars. `texts` say more of each point than its two values, where a picture can tell it.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = GREY
    kind: str = "line"
    label: str = ""
    along: bool = False
    strong: bool = False
    errors: Sequence[float] | None = None
    texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        assert self.kind in KINDS
        assert len(self.x) == len(self.y)
        assert self.errors is None or len(self.errors) == len(self.x)
        assert self.texts is None or len(self.texts) == len(self.x)

    @property
    def top(self) -> float:
        """The highest value that is drawn, error bars included."""
        return max(y + error for y, error in zip(self.y, self.errors or [0] * len(self.y), strict=True))


@dataclass(frozen=True)
class Note:
    """A text at a place, with a dot there unless `dot` is False; `side` is where the text goes from it."""

    x: float
    y: float
    text: str
    colour: int = GREY
    side: str = "right"
    dot: bool = True


@dataclass(frozen=True)
class Panel:
    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    notes: Sequence[Note] = ()


@dataclass(frozen=True)
class Figure:
    """Rows of panels under a title that says what and where, and a line that says what the numbers rest on."""

    title: str
    subtitle: str
    rows: Sequence[Sequence[Panel]]

    @property
    def panels(self) -> list[Panel]:
        return [panel for row in self.rows for panel in row]


# -- numbers -----------------------------------------------------------------------------------------------------------


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
