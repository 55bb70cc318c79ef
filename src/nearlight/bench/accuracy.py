"""How good the predictions were: a page of Markdown made from a ledger, and from nothing else.

The error of a prediction is predicted over measured, less one: +10 % promised more speed (or memory) than there was.
Where a ledger measured the same thing more than once, the latest counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Record = Mapping[str, Any]

_TITLE = """\
# Accuracy of predictions

What `nearlight bench` predicted before each run, against what it then measured. Made from a ledger by
`nearlight bench --accuracy LEDGER.jsonl`; [measuring.md](measuring.md) says what the words mean and how to add to one.

An error is predicted over measured, less one: **+10 %** promised a tenth more speed (or memory) than there was.
"""


@dataclass(frozen=True)
class Error:
    """One prediction of a record; `kind` is "prefill", "decode" or "memory"."""

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
    errors = [Error(kind, record["label"], record["predicted_ts"] / record["avg_ts"] - 1)]
    memory = record.get("memory")
    if memory:
        errors.append(Error("memory", "counted", memory["predicted"] / memory["measured"] - 1))
    return errors


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
        "machine": lambda record: f"{record['cpu']} {record['isa']}, {_threads(record['n_threads'])}",
        "model": lambda record: record["model"],
        "weights": lambda record: record["weights"],
        "test": lambda record: record["test"] + (" †" if record.get("unsteady") else ""),
        "predicted t/s": lambda record: f"{record['predicted_ts']:.1f}",
        "measured t/s": lambda record: f"{record['avg_ts']:.1f} ± {record['stddev_ts']:.1f}",
        "error": lambda record: f"{errors_of(record)[0].error:+.1%}",
        "share of limit": lambda record: f"{record['share_of_limit']:.0%}",
        "memory": _memory,
        "from": lambda record: record["label"],
    }
    return _table(tuple(columns), [tuple(text(record) for text in columns.values()) for record in records])


def _threads(n: int) -> str:
    return f"{n} thread" + ("s" if n != 1 else "")


def _footnote(records: Sequence[Record]) -> list[str]:
    if not any(record.get("unsteady") for record in records):
        return []
    return ["\n† unsteady: the machine changed while this was measured, so limit and prediction are of no one state."]


def _memory(record: Record) -> str:
    memory = record.get("memory")
    if not memory:
        return ""
    return f"{memory['measured'] / 1e6:.0f} MB, predicted {memory['predicted'] / memory['measured'] - 1:+.1%}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
