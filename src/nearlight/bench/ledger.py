"""The ledger of measurements: a JSON object per row, with the machine and the versions it was measured with.

Rows are only ever appended, so a ledger shows how the engine and its predictions changed. How good the predictions were
is a page of Markdown made from a ledger, and from nothing else: the error of a prediction is predicted over measured,
less one (+10 % promised more speed, or memory, than there was), and where a ledger measured the same thing more than
once, the latest counts.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from nearlight.bench.results import BenchResult
from nearlight.errors import RequestError
from nearlight.quantities import number_of

JsonRow: TypeAlias = Mapping[str, Any]
"""A row as it stands in a ledger."""


def append(path: Path, result: BenchResult) -> None:
    """Append rows to a ledger; memory goes with those of this engine.

    Raises: RequestError when the file cannot be written.
    """
    about = {
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": result.hardware.as_json() | {"system": f"{platform.system()} {platform.release()}"},
        "versions": versions(),
    }
    memory = {"memory": result.memory.as_json()} if result.memory else {}
    lines = [json.dumps(row.as_json() | about | (memory if row.adjusted else {})) for row in result.rows]
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
    except OSError as error:
        raise RequestError("ledger cannot be written", where=path, found=error.strerror) from None


def read(path: Path) -> list[dict[str, Any]]:
    """Read a ledger. Raises: RequestError naming the line that is not a row of one."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError("ledger cannot be read", where=path, found=error) from None
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not {"test", "avg_ts", "machine", "label"} <= row.keys():
            expected = "a row written by `bench --record`"
            raise RequestError(f"line {number}", where=path, expected=expected, found=repr(line[:40]))
        rows.append(row)
    return rows


def versions() -> dict[str, str]:
    """Return the versions of this engine and of what it, or a peer, runs on."""
    found = {"python": platform.python_version()}
    for package in ("nearlight", "numpy", "llama-cpp-python", "transformers", "torch", "openvino"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


# -- the page on accuracy ----------------------------------------------------------------------------------------------

_TITLE = """\
# Accuracy of predictions

What `nearlight bench` predicted before each run, against what it then measured. Made from a ledger by
`nearlight bench --accuracy LEDGER.jsonl`; [measuring.md](measuring.md) says what the words mean and how to add to one.

An error is predicted over measured, less one: **+10 %** promised a tenth more speed (or memory) than there was.

*Predicted* is what was stored before the model was loaded. *Adjusted* is what would have been stored, had the read
bandwidth during the run been known: how well the engine is understood, without the machine's changes.
"""

_FOOTNOTES: Mapping[str, tuple[Callable[[JsonRow], bool], str]] = {
    " †": (
        lambda row: bool(row.get("unsteady")),
        "unsteady: the machine changed while this was measured, so limit and adjusted are of no one state.",
    ),
    " ‡": (
        lambda row: "adjusted_ts" not in row,
        "recorded before predictions were frozen: what was told as predicted had been adjusted to the bandwidth during "
        "the run, so it stands under adjusted, and no prediction of that run was kept.",
    ),
}
"""What is said at the foot of the page, by its mark, and of which rows."""


@dataclass(frozen=True)
class Error:
    """One prediction of a row. `kind` is "prefill", "decode" or "memory"; `label` is what it rests on, and says
    whether it was adjusted."""

    kind: str
    label: str
    error: float


def accuracy_page(rows: Sequence[JsonRow]) -> str:
    """Write the page."""
    latest = list({_identity(row): row for row in rows if row.get("predicted_ts")}.values())
    if not latest:
        return _TITLE + "\nThe ledger holds no predictions yet.\n"
    return "\n".join(
        (
            _TITLE,
            "## In short\n",
            _summary(latest),
            "\n## Every measurement\n",
            _details(latest),
            *(f"\n{mark[1:]} {text}" for mark, (holds, text) in _FOOTNOTES.items() if any(map(holds, latest))),
            "",
        )
    )


def errors_of(row: JsonRow) -> list[Error]:
    """Return the errors of a row's predictions."""
    kind = "prefill" if row["n_prompt"] else "decode"
    told = {row["label"]: _predicted(row), f"{row['label']}, adjusted": _adjusted(row)}
    errors = [Error(kind, label, speed / row["avg_ts"] - 1) for label, speed in told.items() if speed is not None]
    memory = row.get("memory")
    if memory:
        errors.append(Error("memory", "counted", memory["predicted"] / memory["measured"] - 1))
    return errors


def _predicted(row: JsonRow) -> float | None:
    """Return the speed that was stored before the run; None where a row is older than that."""
    return float(row["predicted_ts"]) if "adjusted_ts" in row else None


def _adjusted(row: JsonRow) -> float:
    """Return the speed predicted for the machine's state during the run: older rows called that predicted."""
    return float(row.get("adjusted_ts", row["predicted_ts"]))


def _identity(row: JsonRow) -> tuple[object, ...]:
    keys = ("engine", "model", "weights", "kv", "test", "n_threads", "cpu", "isa", "n_ubatch")
    return tuple(row.get(key) for key in keys)


def _summary(rows: Sequence[JsonRow]) -> str:
    errors = [error for row in rows for error in errors_of(row)]
    groups = sorted({(error.kind, error.label) for error in errors})
    lines = []
    for kind, label in groups:
        sizes = [abs(error.error) for error in errors if (error.kind, error.label) == (kind, label)]
        lines.append((kind, label, str(len(sizes)), f"{median(sizes):.1%}", f"{max(sizes):.1%}"))
    return _table(("predicted", "from", "measurements", "median error", "largest error"), lines)


def _details(rows: Sequence[JsonRow]) -> str:
    columns: dict[str, Callable[[JsonRow], str]] = {
        "machine": lambda row: f"{row['cpu']} {row['isa']}, {number_of(row['n_threads'], 'thread')}",
        "model": lambda row: row["model"],
        "weights": lambda row: row["weights"],
        "test": lambda row: row["test"] + "".join(mark for mark, (holds, _) in _FOOTNOTES.items() if holds(row)),
        "predicted t/s": lambda row: _speed(_predicted(row)),
        "measured t/s": lambda row: f"{row['avg_ts']:.1f} ± {row['stddev_ts']:.1f}",
        "error": lambda row: _error(row, _predicted(row)),
        "adjusted t/s": lambda row: _speed(_adjusted(row)),
        "its error": lambda row: _error(row, _adjusted(row)),
        "share of limit": _share,
        "memory": _memory,
        "from": lambda row: row["label"],
    }
    return _table(tuple(columns), [tuple(text(row) for text in columns.values()) for row in rows])


def _speed(tokens_per_s: float | None) -> str:
    return "" if tokens_per_s is None else f"{tokens_per_s:.1f}"


def _error(row: JsonRow, tokens_per_s: float | None) -> str:
    return "" if tokens_per_s is None else f"{tokens_per_s / row['avg_ts'] - 1:+.1%}"


def _share(row: JsonRow) -> str:
    """Tell the share of the limit, and whose that is where it is not memory's."""
    return f"{row['share_of_limit']:.0%}" + (" of the cache's" if row.get("limit_of") == "cache" else "")


def _memory(row: JsonRow) -> str:
    memory = row.get("memory")
    if not memory:
        return ""
    return f"{memory['measured'] / 2**30:.2f} GiB, predicted {memory['predicted'] / memory['measured'] - 1:+.1%}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
