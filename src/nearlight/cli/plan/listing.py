"""What `nearlight plan` knows by name: models, by what nearlight can do with them (`--list`), and `--hardware list`."""

from __future__ import annotations

from itertools import groupby
from typing import Any, TextIO

from nearlight.errors import RequestError
from nearlight.limits.hardware import known_hardware
from nearlight.models.catalogue import CatalogueEntry, catalogue
from nearlight.quantities import count_text, memory_text, significant
from nearlight.terminal.table import table
from nearlight.terminal.tty import BOLD, styled
from nearlight.terminal.wrapping import filled


def models_text(part: str | None, stream: TextIO) -> str:
    """Lay the names out, with the number of parameters where it is known; a line for each series."""
    entries = _entries(part)
    sections = {
        "nearlight runs these, and plans them:": [e for e in entries if e.why_not_run is None],
        "nearlight plans these, and cannot run them yet:": [e for e in entries if e.why_not_run and e.supported],
        "nearlight can neither run nor plan these yet:": [e for e in entries if not e.supported],
    }
    return "\n\n".join(
        "\n".join(
            (styled(filled(title, stream), BOLD, stream), *(_series(group, stream) for group in _by_series(members)))
        )
        for title, members in sections.items()
        if members
    )


def models_json(part: str | None) -> list[dict[str, Any]]:
    """Build the list of `plan --list --json`."""
    return [
        {
            "name": entry.short,
            "series": entry.series,
            "repository": entry.repository,
            "also": list(entry.also),
            "model_type": entry.model_type,
            "params": entry.n_parameters,
            "max_context": entry.config.get("max_position_embeddings") or entry.config.get("n_positions"),
            "plannable": entry.supported,
            "runnable": entry.why_not_run is None,
            "reason": entry.why_not_run,
        }
        for entry in _entries(part)
    ]


def hardware_text(stream: TextIO) -> str:
    """Lay the names of machines out, with their ceilings."""
    rows = [
        (
            short,
            row.name,
            memory_text(row.memory_bytes),
            f"{row.bytes_per_s / 1e9:.0f} GB/s",
            *(significant(row.flops[kind] / 1e12) if kind in row.flops else "" for kind in ("fp32", "bf16", "int8")),
        )
        for short, row in known_hardware().items()
    ]
    header = ("hardware", "machine", "memory", "reads", "fp32", "bf16", "int8")
    legend = filled("reads: of memory; fp32, bf16, int8: TFLOP/s of such products.", stream)
    return f"{table(header, rows, right=(2, 3, 4, 5, 6), stream=stream)}\n{legend}"


def hardware_json() -> dict[str, Any]:
    """Build the object of `plan --hardware list --json`."""
    return {short: row.as_json() for short, row in known_hardware().items()}


def _entries(part: str | None) -> list[CatalogueEntry]:
    """Return all entries, or those with a text in their names. Raises: RequestError where there are none."""
    wanted = (part or "").lower()
    found = [e for e in catalogue().values() if any(wanted in name.lower() for name in (e.short, e.name, *e.also))]
    if not found:
        raise RequestError("no model with this in its name", found=repr(part), advice="`nearlight plan --list` has all")
    return found


def _by_series(entries: list[CatalogueEntry]) -> list[list[CatalogueEntry]]:
    return [list(group) for _, group in groupby(entries, key=lambda entry: entry.series)]


def _series(entries: list[CatalogueEntry], stream: TextIO) -> str:
    """Write a line of names; a size stays with its name when the line is broken."""
    sized = (
        f"{entry.short} {count_text(entry.n_parameters)}" if entry.n_parameters else entry.short for entry in entries
    )
    line = "- " + ", ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in sized)
    return filled(line, stream, "  ").replace("\N{NO-BREAK SPACE}", " ")
