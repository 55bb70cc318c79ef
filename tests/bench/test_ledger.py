"""The ledger, and the page that is made from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearlight.bench.ledger import accuracy_page, append, errors_of, read, versions
from nearlight.bench.memory import Memory
from nearlight.bench.results import BenchResult
from nearlight.errors import RequestError
from nearlight.limits.hardware import Hardware
from tests.bench.test_results import ROW

MACHINE = Hardware("A machine", "cpu", 1e9, 1e6, {"fp32": 1e9}, "made up", "measured")
MEMORY = Memory(before=10, weights=60, kv=25, activations=5, measured=80)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.jsonl"
    append(path, BenchResult([ROW, ROW.beside("llama.cpp", "q4_0", [1000])], MACHINE, MEMORY))
    return path


def test_rows_are_appended_with_machine_and_versions(ledger: Path) -> None:
    append(ledger, BenchResult([ROW], MACHINE, None))
    first, peer, later = read(ledger)
    assert {key: first[key] for key in ROW.as_json()} == json.loads(json.dumps(ROW.as_json()))
    assert first["machine"]["name"] == "A machine"
    assert first["versions"] == versions()
    assert first["memory"] == {
        "before": 10, "weights": 60, "kv": 25, "activations": 5, "measured": 80, "predicted": 100
    }  # fmt: skip
    assert peer["engine"] == "llama.cpp"
    assert "memory" not in peer
    assert "memory" not in later


@pytest.mark.parametrize("line", ["{", "[]", '{"test": "pp1"}'])
def test_a_line_that_is_no_row_is_named(ledger: Path, line: str) -> None:
    ledger.write_text(ledger.read_text() + "\n" + line + "\n")
    with pytest.raises(RequestError, match=r"ledger.jsonl: line 4: expected a row written by"):
        read(ledger)


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="ledger cannot be read"):
        read(tmp_path / "missing")
    with pytest.raises(RequestError, match="ledger cannot be written"):
        append(tmp_path, BenchResult([ROW], MACHINE, None))


def test_errors_are_predicted_over_measured(ledger: Path) -> None:
    first, *_ = read(ledger)
    decode, adjusted, memory = errors_of(first)
    assert (decode.kind, decode.label, decode.error) == ("decode", "calibrated", pytest.approx(80 / 83.333333 - 1))
    assert (adjusted.kind, adjusted.label) == ("decode", "calibrated, adjusted")
    assert adjusted.error == pytest.approx(100 / 83.333333 - 1)
    assert (memory.kind, memory.error) == ("memory", pytest.approx(0.25))
    prefill = {**first, "n_prompt": 64, "memory": None, "predicted_ts": 50.0, "adjusted_ts": 75.0, "avg_ts": 100.0}
    assert [(error.kind, error.error) for error in errors_of(prefill)] == [("prefill", -0.5), ("prefill", -0.25)]


def test_older_rows_keep_their_meaning(ledger: Path) -> None:
    # What they call predicted was adjusted to the bandwidth during the run already; nothing stored before it was kept.
    first, *_ = read(ledger)
    old = {key: value for key, value in first.items() if key not in ("adjusted_ts", "memory", "limit_of")}
    (only,) = errors_of(old)
    assert (only.label, only.error) == ("calibrated, adjusted", pytest.approx(80 / 83.333333 - 1))
    text = accuracy_page([old])
    assert "| tg4 @ d9 ‡ |  | 83.3 ± 23.6 |  | 80.0 | -4.0% | 42% |" in text
    assert "‡ recorded before predictions were frozen" in text
    assert "‡" not in accuracy_page([first])


def test_the_page_sums_up_and_tells_all_but_the_outdated(ledger: Path) -> None:
    append(ledger, BenchResult([ROW], MACHINE, None))
    text = accuracy_page(read(ledger))
    assert "| decode | calibrated | 1 | 4.0% | 4.0% |" in text
    assert "| decode | calibrated, adjusted | 1 | 20.0% | 20.0% |" in text
    assert "| M | w4 | tg4 @ d9 | 80.0 | 83.3 ± 23.6 | -4.0% | 100.0 | +20.0% | 42% |" in text
    in_cache = accuracy_page([{**read(ledger)[0], "limit_of": "cache"}])
    assert "| 42% of the cache's |" in in_cache
    assert "memory" not in text.partition("## Every")[0].partition("| predicted")[2]
    assert "llama.cpp" not in text


def test_a_page_of_nothing_says_so() -> None:
    assert "no predictions yet" in accuracy_page([])
