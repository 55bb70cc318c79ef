"""Draws descriptions with matplotlib: light, with labels beside what they name, in colours that everybody can tell.

Figures are made without pyplot, which keeps state of its own. Text stays text in SVG.

Source of the colours: Okabe, Ito, "Color Universal Design", 2008; the last but two and one darker, to be read as text.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from nearlight.plot.figure import GREY, Axis, Figure, Note, Panel, Series, tick_text

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA3377", "#8C6D00", "#56B4E9")
QUIET, INK, GRID = "#6B6B6B", "#222222", "#E6E6E6"
WIDTH_IN, ROW_IN, TITLE_IN = 10.0, 3.7, 0.75
PNG_DPI = 160
_LABEL_GAP_PT = 12.5
_NEAR_MARGIN, _ROOM_FOR_LABEL = 0.8, 0.4
"""Parts of a panel's width: from where on a line's label stands in the margin, and else to the left of its end."""

_STROKE = 0.1
"""The part of a panel's width that a line of a single point takes."""

_DASHES: dict[str, Any] = {"line": "-", "dashed": (0, (4, 2)), "dotted": (0, (1, 2))}
_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 10,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "nearlight",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
}
_SIDES: dict[str, tuple[tuple[float, float], str, str]] = {
    "right": ((8, 0), "left", "center"),
    "left": ((-8, 0), "right", "center"),
    "above": ((0, 8), "center", "bottom"),
    "below": ((0, -8), "center", "top"),
    "above left": ((-6, 6), "right", "bottom"),
    "above right": ((6, 4), "left", "bottom"),
    "below right": ((7, -7), "left", "top"),
}


@dataclass(frozen=True)
class Spot:
    """Where a point came to lie. Units: parts of the picture's width and height, from its upper left corner."""

    x: float
    y: float
    panel: Panel
    series: Series
    index: int


def render(figure: Figure, format: str) -> bytes:
    """Draw a figure; return the bytes of a "png" or "svg"."""
    with _drawn(figure) as (canvas, _):
        return _saved(canvas, format)


def render_with_spots(figure: Figure) -> tuple[bytes, list[Spot]]:
    """Draw a figure as SVG; return it, and where each of its points is."""
    with _drawn(figure) as (canvas, axes):
        spots = [spot for panel, each in axes for spot in _spots(canvas, panel, each)]
        return _saved(canvas, "svg"), spots


@contextmanager
def _drawn(figure: Figure) -> Iterator[tuple[Canvas, list[tuple[Panel, Axes]]]]:
    with style.context(["default", _STYLE]):
        height_in = TITLE_IN + ROW_IN * len(figure.rows)
        height = TITLE_IN / height_in
        layout = ConstrainedLayoutEngine(rect=(0.005, 0.005, 0.99, 0.99 - height), w_pad=0.12, h_pad=0.1)
        canvas = Canvas(figsize=(WIDTH_IN, height_in), layout=layout)
        title, subtitle = _fitting(figure.title, 14, 0.7), _fitting(figure.subtitle, 10, 0.58)
        canvas.text(0.012, 1 - 0.15 * height, figure.title, fontsize=title, fontweight="bold", va="top")
        canvas.text(0.012, 1 - 0.62 * height, figure.subtitle, fontsize=subtitle, color=QUIET, va="top")
        grid = canvas.add_gridspec(len(figure.rows), 1)
        drawn, labels = [], []
        for i, row in enumerate(figure.rows):
            cells = grid[i].subgridspec(1, len(row))
            for j, panel in enumerate(row):
                axes = canvas.add_subplot(cells[j])
                labels.append(_draw_panel(axes, panel))
                drawn.append((panel, axes))
        canvas.draw_without_rendering()  # lays out, so that places on the picture are known
        for (panel, axes), own in zip(drawn, labels, strict=True):
            _turn_along(axes, panel)
            _keep_apart(axes, own)
        yield canvas, drawn


def _fitting(text: str, size: float, letter: float) -> float:
    """Return a font size at which a text is no wider than the picture.

    Units: points; `letter` is the width of a letter, in font sizes.
    """
    return min(size, 72 * WIDTH_IN / (letter * max(len(text), 1)))


def _saved(canvas: Canvas, format: str) -> bytes:
    buffer = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if format == "svg" else {}
    canvas.savefig(buffer, format=format, dpi=PNG_DPI if format == "png" else 72, metadata=metadata)
    return buffer.getvalue()


# -- one panel ---------------------------------------------------------------------------------------------------------


def _draw_panel(axes: Axes, panel: Panel) -> list[Annotation]:
    """Draw a panel; return the labels in its margin."""
    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", pad=9)
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.8)
    axes.tick_params(length=0)
    for series in panel.series:
        _draw_series(axes, series)
    for note in panel.notes:
        _draw_note(axes, note)
    _scale(axes, panel)
    for series in panel.series:
        if len(series.x) == 1 and series.kind in _DASHES:
            _draw_stroke(axes, series)
    labelled = [series for series in panel.series if series.label and not series.along]
    return [label for series in labelled if (label := _draw_label(axes, series))]


def _draw_series(axes: Axes, series: Series) -> None:
    colour = _colour(series.colour)
    axes.errorbar(
        series.x,
        series.y,
        yerr=series.errors,
        color=colour,
        linestyle=_DASHES.get(series.kind, "none"),
        linewidth=2.4 if series.strong else 1.4,
        marker=None if series.kind in _DASHES else "o",
        markersize=6,
        markerfacecolor="white" if series.kind == "hollow" else colour,
        elinewidth=1.2,
        capsize=2.5,
        zorder=3 if series.strong else 2,
        solid_capstyle="round",
        clip_on=series.kind in _DASHES,  # a dot at the edge of a panel is whole
    )


def _draw_stroke(axes: Axes, series: Series) -> None:
    """Draw a line of one point as a short stroke."""
    across = (axes.transScale + axes.transLimits).transform((series.x[0], series.y[0]))[0]
    axes.plot(
        (across - _STROKE / 2, across + _STROKE / 2),
        (series.y[0], series.y[0]),
        color=_colour(series.colour),
        linestyle=_DASHES[series.kind],
        transform=axes.get_yaxis_transform(),
    )


def _draw_label(axes: Axes, series: Series) -> Annotation | None:
    """Write a line's label in the margin if the line comes near it, and return it; else beside the line's end."""
    end = (series.x[-1], series.y[-1])
    across = (axes.transScale + axes.transLimits).transform(end)[0]
    look = {"fontweight": "bold" if series.strong else "normal"}
    colour = _colour(series.colour)
    if across >= _NEAR_MARGIN:
        return _text(axes, series.label, (1, end[1]), "right", colour, xycoords=axes.get_yaxis_transform(), **look)
    _text(axes, series.label, end, "above left" if across > _ROOM_FOR_LABEL else "right", colour, **look)
    return None


def _draw_note(axes: Axes, note: Note) -> None:
    colour = _colour(note.colour)
    if note.dot:
        axes.plot([note.x], [note.y], "o", color=colour, markersize=7, markeredgecolor="white", zorder=4, clip_on=False)
    _text(axes, note.text, (note.x, note.y), note.side, colour)


def _text(axes: Axes, text: str, at: tuple[float, float], side: str, colour: str, **style: Any) -> Annotation:
    """Write beside a point, on white so that lines below do not disturb."""
    offset, horizontal, vertical = _SIDES[side]
    return axes.annotate(
        text,
        at,
        xytext=offset,
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        color=colour,
        fontsize=9.5,
        annotation_clip=False,
        zorder=5,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        **style,
    )


def _scale(axes: Axes, panel: Panel) -> None:
    for axis, described, direction in ((axes.xaxis, panel.x, "x"), (axes.yaxis, panel.y, "y")):
        if described.log:
            axes.set(**{f"{direction}scale": "log"})
        axes.set(**{f"{direction}label": described.label})
        if described.low is not None or described.high is not None:
            axes.set(**{f"{direction}lim": (described.low, described.high)})
        axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_locator(_locator(described))


def _locator(axis: Axis) -> Any:
    if axis.ticks is not None:
        return FixedLocator(list(axis.ticks))
    if axis.log:
        decades = math.log10(axis.high / axis.low) if axis.low and axis.high else 9
        return LogLocator(subs=(1, 2, 5) if decades < 3 else (1,), numticks=12)
    return MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10])


# -- what depends on the layout ----------------------------------------------------------------------------------------


def _turn_along(axes: Axes, panel: Panel) -> None:
    """Write the labels that follow their lines, in the middle of each."""
    for series in panel.series:
        if not series.along or not series.label:
            continue
        (x0, y0), (x1, y1) = (axes.transData.transform((series.x[i], series.y[i])) for i in (-2, -1))
        angle = math.atan2(y1 - y0, x1 - x0)
        across, up = axes.transAxes.inverted().transform(((x0 + x1) / 2, (y0 + y1) / 2))
        axes.annotate(
            series.label,
            (across, up),
            xycoords="axes fraction",
            xytext=(-4 * math.sin(angle), 4 * math.cos(angle)),
            textcoords="offset points",
            rotation=math.degrees(angle),
            rotation_mode="anchor",
            ha="center",
            va="baseline",
            color=_colour(series.colour),
            fontsize=9,
        )


def _keep_apart(axes: Axes, labels: Sequence[Annotation]) -> None:
    """Move the labels in the margin up and down until all can be read."""
    points = 72 / axes.figure.dpi
    heights = [float(axes.transData.transform((1, label.xy[1]))[1]) * points for label in labels]
    for label, height, moved in zip(labels, heights, spread(heights, _LABEL_GAP_PT), strict=True):
        label.xyann = (label.xyann[0], moved - height)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places apart until any two differ by `gap` at least, in the same order, as little as possible.

    Neighbours that are too near form a block around their common middle; a block that runs into the next takes it in.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    blocks: list[tuple[float, list[int]]] = []  # the middle, and who is in it from low to high
    for i in order:
        middle, members = places[i], [i]
        while blocks and blocks[-1][0] + gap * (len(blocks[-1][1]) + len(members)) / 2 > middle:
            before_middle, before = blocks.pop()
            middle = (before_middle * len(before) + middle * len(members)) / (len(before) + len(members))
            members = before + members
        blocks.append((middle, members))
    moved = list(places)
    for middle, members in blocks:
        for rank, i in enumerate(members):
            moved[i] = middle + gap * (rank - (len(members) - 1) / 2)
    return moved


def _spots(canvas: Canvas, panel: Panel, axes: Axes) -> Iterator[Spot]:
    to_parts = canvas.transFigure.inverted()
    for series in panel.series:
        for index, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
            across, up = to_parts.transform(axes.transData.transform((x, y)))
            yield Spot(float(across), 1 - float(up), panel, series, index)


def _colour(number: int) -> str:
    return QUIET if number == GREY else COLOURS[number % len(COLOURS)]
