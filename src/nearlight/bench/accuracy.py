"""How good the predictions were: a page of Markdown made from a ledger, and from nothing else.

The error of a prediction is predicted over measured, less one: +10 % promised more speed (or memory) than there was.
Where a ledger measured the same thing more than once, the latest counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from nearlight.quantities import number_of

Record = Mapping[str, Any]

_MARKS: dict[str, Callable[[Record], bool]] = {
    " †": lambda record: bool(record.get("unsteady")),
    " ‡": lambda record: "adjusted_ts" not in record,
}
"""What is said of a record at the foot of the page."""

_TITLE = """\
# Accuracy of predictions

What `nearlight bench` predicted before each run, against what it then measured. Made from a ledger by
`nearlight bench --accuracy LEDGER.jsonl`; [measuring.md](measuring.md) says what the words mean and how to add to one.

An error is predicted over measured, less one: **+10 %** promised a tenth more speed (or memory) than there was.

*Predicted* is what was stored before the model was loaded. *Adjusted* is what would have been stored, had the read
bandwidth during the run been known: how well the engine is understood, without the machine's changes.
"""

_OLD = """\
‡ recorded before predictions were frozen: what was told as predicted had been adjusted to the bandwidth during the \
run, so it stands under adjusted, and no prediction of that run was kept."""


@dataclass(frozen=True)
class Error:
    """One prediction of a record. `kind` is "prefill", "decode" or "memory"; `label` is what it rests on, and says
    whether it was adjusted."""

    kind: str
    label: str
    error: float


def page(records: Sequence[Record]) -> str:
    """Write the page."""
    latest = list({_identity(record): record for record in records if record.get("predicted_ts")}.values())
    if not latest:
        return _TITLE + "\nThe ledger holds no predictions yet.\n"
    return "\n".join(
        (
            _TITLE,
            "## In short\n",
            _summary(latest),
            "\n## Every measurement\n",
            _details(latest),
            *_footnote(latest),
            "",
        )
    )


def errors_of(record: Record) -> list[Error]:
    """Return the errors of a record's predictions."""
    kind = "prefill" if record["n_prompt"] else "decode"
    told = {record["label"]: _predicted(record), f"{record['label']}, adjusted": _adjusted(record)}
    errors = [Error(kind, label, speed / record["avg_ts"] - 1) for label, speed in told.items() if speed is not None]
    memory = record.get("memory")
    if memory:
        errors.append(Error("memory", "counted", memory["predicted"] / memory["measured"] - 1))
    return errors


def _predicted(record: Record) -> float | None:
    """Return the speed that was stored before the run; None where a record is older than that."""
    return float(record["predicted_ts"]) if "adjusted_ts" in record else None


def _adjusted(record: Record) -> float:
    """Return the speed predicted for the machine's state during the run: older records called that predicted."""
    return float(record.get("adjusted_ts", record["predicted_ts"]))


def _identity(record: Record) -> tuple[object, ...]:
    keys = ("engine", "model", "weights", "kv", "test", "n_threads", "cpu", "isa", "n_ubatch")
    return tuple(record.get(key) for key in keys)


def _summary(records: Sequence[Record]) -> str:
    errors = [error for record in records for error in errors_of(record)]
    groups = sorted({(error.kind, error.label) for error in errors})
    rows = []
    for kind, label in groups:
        sizes = [abs(error.error) for error in errors if (error.kind, error.label) == (kind, label)]
        rows.append((kind, label, str(len(sizes)), f"{median(sizes):.1%}", f"{max(sizes):.1%}"))
    return _table(("predicted", "from", "measurements", "median error", "largest error"), rows)


def _details(records: Sequence[Record]) -> str:
    columns: dict[str, Callable[[Record], str]] = {
        "machine": lambda record: f"{record['cpu']} {record['isa']}, {number_of(record['n_threads'], 'thread')}",
        "model": lambda record: record["model"],
        "weights": lambda record: record["weights"],
        "test": lambda record: record["test"] + "".join(mark for mark, has in _MARKS.items() if has(record)),
        "predicted t/s": lambda record: _speed(_predicted(record)),
        "measured t/s": lambda record: f"{record['avg_ts']:.1f} ± {record['stddev_ts']:.1f}",
        "error": lambda record: _error(record, _predicted(record)),
        "adjusted t/s": lambda record: _speed(_adjusted(record)),
        "its error": lambda record: _error(record, _adjusted(record)),
        "share of limit": _share,
        "memory": _memory,
        "from": lambda record: record["label"],
    }
    return _table(tuple(columns), [tuple(text(record) for text in columns.values()) for record in records])


def _footnote(records: Sequence[Record]) -> list[str]:
    notes = {
        " †": "† unsteady: the machine changed while this was measured, so limit and adjusted are of no one state.",
        " ‡": _OLD,
    }
    return [f"\n{notes[mark]}" for mark, has in _MARKS.items() if any(map(has, records))]


def _speed(tokens_per_s: float | None) -> str:
    return "" if tokens_per_s is None else f"{tokens_per_s:.1f}"


def _error(record: Record, tokens_per_s: float | None) -> str:
    return "" if tokens_per_s is None else f"{tokens_per_s / record['avg_ts'] - 1:+.1%}"


def _share(record: Record) -> str:
    """Tell the share of the limit, and whose that is where it is not memory's."""
    return f"{record['share_of_limit']:.0%}" + (" of the cache's" if record.get("limit_of") == "cache" else "")


def _memory(record: Record) -> str:
    memory = record.get("memory")
    if not memory:
        return ""
    return f"{memory['measured'] / 2**30:.2f} GiB, predicted {memory['predicted'] / memory['measured'] - 1:+.1%}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
