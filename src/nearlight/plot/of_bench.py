"""The picture of measurements: what was measured, what was predicted before it, and the limit, on the same axes.

Rows are those of `bench --json`. Runs of one model in one setting are a group and have one colour: dots are measured
(hollow ones while the machine changed), dashes predicted before the run, the dotted line is the limit. The thin line is
the prediction adjusted to the machine's state during the run, where a row has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from nearlight.errors import RequestError
from nearlight.plot.figure import Axis, Figure, Note, Panel, Series, speed_text

Row: TypeAlias = Mapping[str, Any]

_SETTING = ("model", "weights", "kv", "engine", "n_threads")
_NAMES = {"n_threads": "{} threads", "n_depth": "after {}", "kv": "{} cache"}


def bench_figure(rows: Sequence[Row]) -> Figure:
    """Describe the picture of a benchmark: prefill by prompt length, decode by context, as far as measured.

    Raises: RequestError without rows.
    """
    panels = [panel for panel in (prefill_panel(rows), decode_panel(rows)) if panel]
    if not panels:
        raise RequestError("nothing was measured, so there is nothing to draw")
    return Figure(_title(rows), _subtitle(rows), [panels])


def prefill_panel(rows: Sequence[Row]) -> Panel | None:
    """Describe prefill speed against the prompt's length, and name the fastest; None where no prompt was measured."""
    prompts = [row for row in rows if row["n_prompt"]]
    if not prompts:
        return None
    lengths = sorted({row["n_prompt"] for row in prompts})
    return _panel(
        "Prefill: speed by length of the prompt",
        Axis("prompt", "tokens", log=True, low=lengths[0] / 1.4, high=lengths[-1] * 1.08, ticks=_thinned(lengths)),
        Axis("speed", "tok/s"),
        _lines(prompts, lambda row: row["n_prompt"], _speed_of),
        [_best(prompts)] if len(lengths) > 1 else [],
    )


def decode_panel(rows: Sequence[Row]) -> Panel | None:
    """Describe decode latency at the mean position of each run; None where nothing was generated."""
    gens = [row for row in rows if row["n_gen"]]
    if not gens:
        return None
    x, y = Axis("position", "tokens", low=0, high=1.05 * max(map(_position, gens))), Axis("time per token", "ms")
    return _panel("Decode: time of one more token at a position", x, y, _lines(gens, _position, _latency_of))


def _panel(title: str, x: Axis, y: Axis, series: Sequence[Series], notes: Sequence[Note] = ()) -> Panel:
    """Make a panel from zero up, with room above the highest point or error bar for what is written there."""
    return Panel(title, x, replace(y, low=0, high=1.15 * max(each.top for each in series)), series, notes)


def _best(prompts: Sequence[Row]) -> Note:
    """Name the fastest prompt of the first setting, and the chunks that it was computed in."""
    first = next(iter(_groups(prompts).values()))
    best = max(first, key=lambda row: float(row["avg_ts"]))
    chunk = min(best.get("n_ubatch") or best["n_prompt"], best["n_prompt"])
    lengths = sorted({row["n_prompt"] for row in prompts})
    place = lengths.index(best["n_prompt"]) / (len(lengths) - 1)  # the axis is logarithmic, and lengths are doubled
    side = "above right" if place < 0.3 else "above left" if place > 0.7 else "above"
    text = f"best: {speed_text(best['avg_ts'])} tok/s in chunks of {chunk}"
    return Note(best["n_prompt"], best["avg_ts"], text, 0, side, dot=False)


# -- lines of groups ---------------------------------------------------------------------------------------------------

_EXPECTED = (
    ("limit_ts", "dotted", "limit"),
    ("adjusted_ts", "line", "adjusted"),
    ("predicted_ts", "dashed", "predicted"),
)

Value: TypeAlias = Callable[[Row, str], float]
"""The value of a row under one of the keys avg_ts, predicted_ts, adjusted_ts, limit_ts."""


def _lines(rows: Sequence[Row], x_of: Callable[[Row], float], value: Value) -> list[Series]:
    series = []
    groups = _groups(rows)
    for colour, (name, group) in enumerate(groups.items()):
        group = sorted(group, key=x_of)
        prefix = f"{name} " if name else ""
        for key, kind, what in _EXPECTED:
            known = [row for row in group if row.get(key)]
            if known:
                x, y = [x_of(row) for row in known], [value(row, key) for row in known]
                label = what if len(groups) == 1 else ""
                series.append(Series(f"{prefix}{what}", x, y, colour, kind, label))
        measured = _measured(group, x_of, value, f"{prefix}measured", colour)
        label = f"{prefix}measured" if len(groups) == 1 else name
        last = max(measured, key=lambda each: each.x[-1])
        series += [replace(each, label=label) if each is last else each for each in measured]
    return series


def _measured(group: Sequence[Row], x_of: Callable[[Row], float], value: Value, name: str, colour: int) -> list[Series]:
    """Make dots of a group's rows: full ones, and hollow ones for those that are unsteady."""
    series = []
    for kind, unsteady in (("points", False), ("hollow", True)):
        rows = [row for row in group if bool(row.get("unsteady")) == unsteady]
        if rows:
            x, y = [x_of(row) for row in rows], [value(row, "avg_ts") for row in rows]
            errors = [
                y_one * row["stddev_ts"] / row["avg_ts"] if row.get("stddev_ts") else 0.0
                for y_one, row in zip(y, rows, strict=True)
            ]
            texts = [f"{row['test']}: {speed_text(row['avg_ts'])} tok/s" for row in rows]
            series.append(Series(name, x, y, colour, kind, strong=True, errors=errors, texts=texts))
    return series


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group rows by their setting, prompts also by their depth; name each group by what differs between them."""
    prompts = all(row["n_prompt"] for row in rows)
    keys = (*_SETTING, "n_depth") if prompts else _SETTING
    varying = [key for key in keys if len({row.get(key) for row in rows}) > 1]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        name = ", ".join(_NAMES.get(key, "{}").format(row.get(key)) for key in varying)
        groups.setdefault(name, []).append(row)
    return groups


def _speed_of(row: Row, key: str) -> float:
    return float(row[key])


def _latency_of(row: Row, key: str) -> float:
    return 1000 / float(row[key])


def _position(row: Row) -> float:
    return float(row["n_depth"] + row["n_gen"] / 2)


def _thinned(lengths: Sequence[float]) -> list[float]:
    """Leave out lengths whose ticks would touch on a logarithmic axis."""
    kept: list[float] = []
    for length in lengths:
        if not kept or length >= 1.45 * kept[-1]:
            kept.append(length)
    return kept


def _title(rows: Sequence[Row]) -> str:
    first = rows[0]
    models = ", ".join(dict.fromkeys(str(row["model"]) for row in rows))
    weights = ", ".join(dict.fromkeys(str(row["weights"]) for row in rows))
    threads = ", ".join(dict.fromkeys(str(row["n_threads"]) for row in rows))
    threads += " thread" if threads == "1" else " threads"
    return f"{models}, {weights}, on {first.get('cpu', 'this machine')}, {threads}"


def _subtitle(rows: Sequence[Row]) -> str:
    labels = ", ".join(dict.fromkeys(str(row["label"]) for row in rows if row.get("predicted_ts")))
    basis = f" ({labels})" if labels else ""
    hollow = ", hollow while the machine changed" if any(row.get("unsteady") for row in rows) else ""
    thin = " Line: adjusted to the bandwidth during it." if any(row.get("adjusted_ts") for row in rows) else ""
    return (
        f"Dots: measured, with standard deviation{hollow}. Dashes: predicted before the run{basis}.{thin} "
        "Dotted: the limit."
    )
