"""The ledger of measurements: a JSON object per row, with the machine and the versions it was measured with.

Rows are only ever appended, so a ledger shows how the engine and its predictions changed; `accuracy` sums one up.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nearlight.bench.memory import Memory
from nearlight.bench.results import Row
from nearlight.errors import RequestError
from nearlight.limits.hardware import Hardware


def record(path: Path, rows: Sequence[Row], hardware: Hardware, memory: Memory | None = None) -> None:
    """Append rows to a ledger; `memory` goes with those of this engine.

    Raises: RequestError when the file cannot be written.
    """
    about = {
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": hardware.as_json() | {"system": f"{platform.system()} {platform.release()}"},
        "versions": versions(),
    }
    lines = [
        json.dumps(row.as_json() | about | ({"memory": memory.as_json()} if memory and row.expectation else {}))
        for row in rows
    ]
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
    except OSError as error:
        raise RequestError("ledger cannot be written", where=path, found=error.strerror) from None


def read_records(path: Path) -> list[dict[str, Any]]:
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
