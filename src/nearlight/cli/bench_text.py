"""Lays the rows of `nearlight bench` out: llama-bench's formats, and the accounts of `--explain`."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence

from nearlight.bench.memory import Memory
from nearlight.bench.prediction import Prediction
from nearlight.bench.profile import Account, Explanation
from nearlight.bench.results import Row
from nearlight.machine.bandwidth_states import states
from nearlight.quantities import bytes_text, count_text, memory_text, number_of, significant
from nearlight.terminal.table import table
from nearlight.terminal.tty import BOLD, is_terminal, styled, width
from nearlight.terminal.wrapping import display_width, filled

FORMATS = ("md", "csv", "json", "jsonl")

_COMMON: dict[str, Callable[[str], str]] = {
    "model": lambda model: model,
    "params": lambda params: f"{params} parameters",
    "size": lambda size: size,
    "weights": lambda weights: f"weights {weights}",
    "threads": lambda threads: number_of(int(threads), "thread"),
}
"""Columns that are told once where all rows agree, and how."""

_COLUMNS: dict[str, Callable[[Row], str]] = {
    "engine": lambda row: row.engine,
    "model": lambda row: row.setting.model,
    "size": lambda row: bytes_text(row.setting.model_size) if row.adjusted else "",
    "params": lambda row: count_text(row.setting.n_params),
    "weights": lambda row: row.setting.weights,
    "threads": lambda row: str(row.setting.n_threads),
    "test": lambda row: _test(row),
    "t/s": lambda row: f"{row.avg_ts:.2f} ± {row.stddev_ts:.2f}",
    "GB/s": lambda row: _number(row.bytes_per_s, 1e9),
    "GFLOP/s": lambda row: _number(row.flops_per_s, 1e9),
    "limit": lambda row: _number(row.limit_ts),
    "share": lambda row: _percent(row.share_of_limit),
    "bound": lambda row: _bound(row.adjusted) if row.adjusted else "",
    "predicted": lambda row: _number(row.predicted_ts),
    "ratio": lambda row: "" if row.ratio is None else f"{row.ratio:.2f}",
    "adjusted": lambda row: _number(row.adjusted_ts),
    "from": lambda row: row.prediction.label if row.prediction else "",
    "nearlight is": lambda row: "" if row.speedup is None else f"{row.speedup:.2f}× as fast",
}

UNSTEADY = "†"
"""Marks rows whose repetitions could not be had in one state of the machine."""

NOTE = (
    "t/s: mean ± standard deviation; neither tokenization nor sampling is inside. limit: t/s that this machine allowed "
    "while it was measured; share: of it. predicted: t/s expected before the run; ratio: measured over predicted; "
    "adjusted: t/s expected, had the bandwidth during the run been known."
)


def as_rows(rows: Sequence[Row], format: str) -> str:
    """Write rows in one of `FORMATS`."""
    if format == "json":
        return json.dumps([row.as_json() for row in rows], indent=1)
    if format == "jsonl":
        return "\n".join(json.dumps(row.as_json()) for row in rows)
    return _csv(rows) if format == "csv" else _markdown(rows)


def notes(rows: Sequence[Row], memories: Sequence[Memory | None]) -> str:
    """Say what the figures mean, explain those that look impossible, and tell the memory that was taken."""
    lines = [NOTE, *dict.fromkeys(row.why_over_limit for row in rows if row.why_over_limit)]
    lines += _states(rows)
    for memory in memories:
        if memory and memory.measured:
            ratio = memory.measured / memory.predicted
            lines.append(
                f"memory: {memory_text(memory.measured)} ({memory_text(memory.weights)} weights, "
                f"{memory_text(memory.kv)} KV cache, {memory_text(memory.activations)} activations, "
                f"{memory_text(memory.before)} before); {memory_text(memory.predicted)} predicted, "
                f"measured/predicted {ratio:.2f}"
            )
    return "\n".join(lines)


def _states(rows: Sequence[Row]) -> list[str]:
    """Tell how fast reading was while the rows were measured, and what had to be measured again."""
    lines = []
    for source, name in (("memory", "memory"), ("cache", "the processor's cache")):
        found = [row.adjusted for row in rows if row.adjusted and row.adjusted.limit_of == source]
        seen = " or ".join(f"{bytes_text(group[0])}/s" for group in states(one.read_bytes_per_s for one in found))
        lines += [f"{name} was read at {seen} around these repetitions"] if found else []
    return [*lines, *_discarded(rows)]


def _bound(prediction: Prediction) -> str:
    """Say what bounds a workload, and whose bandwidth it is where it is not memory's."""
    in_cache = prediction.bound == "bandwidth" and prediction.limit_of == "cache"
    return "cache bandwidth" if in_cache else prediction.bound


def _discarded(rows: Sequence[Row]) -> list[str]:
    """Tell what had to be measured again."""
    return [
        f"{row.workload.name}: repetitions thrown away: {len(row.discarded)}; of the last, {row.discarded[-1]}"
        for row in rows
        if row.adjusted and row.discarded
    ]


def _markdown(rows: Sequence[Row]) -> str:
    """Write llama-bench's table, narrow enough to be read: what all rows have in common stands above it."""
    columns = {name: [text(row) for row in rows] for name, text in _COLUMNS.items()}
    caption = []
    for name, text in _COMMON.items():
        if len({value for value in columns[name] if value}) == 1:
            caption.append(text(next(value for value in columns.pop(name) if value)))
    if len({row.engine for row in rows}) == 1:
        del columns["engine"]
    columns = {name: texts for name, texts in columns.items() if any(texts)}
    parts = [filled(", ".join(caption), sys.stdout), ""] if caption else []
    return "\n".join([*parts, _table(columns), *(filled(note, sys.stdout) for note in _footnotes(rows))])


def _test(row: Row) -> str:
    chunk = f" in {row.chunk}s" if row.chunk and row.chunk != 512 else ""
    return row.workload.name + chunk + (f" {UNSTEADY}" if row.unsteady else "")


def _footnotes(rows: Sequence[Row]) -> list[str]:
    """Say of rows that are unsteady why; a peer's is measured in turns with another, so it has the same reason."""
    unsteady = [row for row in rows if row.unsteady]
    reasons = dict.fromkeys(f"{UNSTEADY} {row.workload.name} is unsteady: {row.unsteady}." for row in unsteady)
    return ["", *reasons] if reasons else []


def _table(columns: Mapping[str, Sequence[str]]) -> str:
    widths = {name: max(map(display_width, (name, *texts))) for name, texts in columns.items()}
    if is_terminal(sys.stdout) and sum(widths.values()) + 3 * len(widths) + 1 > width():
        right = [index for index, name in enumerate(columns) if not _left(name)]
        return table(list(columns), list(zip(*columns.values(), strict=True)), right=right, stream=sys.stdout)
    lines = [
        [name.ljust(widths[name]) for name in columns],
        ["-" * widths[name] if _left(name) else "-" * (widths[name] - 1) + ":" for name in columns],
    ]
    lines += [
        [_aligned(text, widths[name], _left(name)) for name, text in zip(columns, row, strict=True)]
        for row in zip(*columns.values(), strict=True)
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _csv(rows: Sequence[Row]) -> str:
    """Write one line a row; what is a list or an object in JSON is JSON here too."""
    objects = [row.as_json() for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(objects[0]), lineterminator="\n")
    writer.writeheader()
    for one in objects:
        writer.writerow(
            {key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in one.items()}
        )
    return text.getvalue().rstrip("\n")


def explanation_text(explanation: Explanation) -> str:
    """Lay a step's accounts out."""
    speed, limit = explanation.n_tokens / explanation.step_s, explanation.n_tokens / explanation.limit_s
    title = (
        f"{explanation.name}: {_ms(explanation.step_s)} a step, {significant(speed)} t/s; "
        f"the limit is {_ms(explanation.limit_s)}, {significant(limit)} t/s"
    )
    header = ("time of", "calls", "ms", "share", "moved", "GB/s", "GFLOP/s", "in", "of its limit", "at its limit")
    rows = [_account(account, speed) for account in explanation.accounts]
    body = table(header, rows, right=range(1, len(header)), stream=sys.stdout)
    lines = [styled(filled(title, sys.stdout), BOLD, sys.stdout), "", body]
    if explanation.sampling_s:
        choosing = f"Choosing a token takes {_ms(explanation.sampling_s)} besides, which is in none of these figures."
        lines += ["", filled(choosing, sys.stdout)]
    return "\n".join(lines)


def _account(account: Account, speed: float) -> tuple[str, ...]:
    works = account.n_bytes > 0 or account.operations > 0
    return (
        account.kind,
        str(account.calls) if works else "",
        f"{1000 * account.seconds:.3f}",
        f"{account.share_of_step:.1%}",
        bytes_text(account.n_bytes) if account.n_bytes else "",
        _number(account.bytes_per_s, 1e9) if account.n_bytes else "",
        _number(account.flops_per_s, 1e9) if account.operations else "",
        account.data_type,
        _percent(account.share_of_limit),
        f"{significant(speed * account.gain)} t/s",
    )


def _ms(seconds: float) -> str:
    return f"{significant(1000 * seconds, 3)} ms"


def _number(value: float | None, unit: float = 1) -> str:
    return "" if value is None else significant(value / unit, 3)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _left(column: str) -> bool:
    return column in ("engine", "model", "weights", "test", "bound", "from")


def _aligned(text: str, width: int, left: bool) -> str:
    space = " " * (width - display_width(text))
    return text + space if left else space + text
