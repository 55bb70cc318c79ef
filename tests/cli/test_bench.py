"""`nearlight roofline` and `nearlight bench` as a person starts them. No figure is judged, only what is told."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from nearlight.bench import measure, steady
from nearlight.cli import bench, roofline
from nearlight.cli.main import main
from nearlight.errors import RequestError
from nearlight.machine import processor, threads
from tests.bench.tiny import CONFIG
from tests.cli.conftest import Command

QUICK = ("-p", "40", "-n", "3", "-r", "2", "-t", "1")


@pytest.fixture
def synthetic(tmp_path: Path) -> str:
    directory = tmp_path / "Tiny"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG))
    return str(directory)


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs beside the tests."""
    monkeypatch.setattr(measure, "read_now", lambda threads, source: 40e9)
    monkeypatch.setattr(steady, "waiting_seconds", lambda: 0.0)


def rows_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert bench.main([*arguments, *QUICK, "-o", "json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


@pytest.mark.parametrize(("caches", "columns"), [([8 << 20], ["memory", "cache"]), ([], ["memory"])])
def test_roofline_tells_all_ceilings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, caches: list[int], columns: list[str]
) -> None:
    monkeypatch.setattr(processor, "last_caches", lambda root: caches)
    monkeypatch.setattr(threads, "processors", lambda: {0, 1})  # a test's worker has only one
    assert roofline.main(["--threads", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"cpu", "isa", "threads", "read_bytes_per_s", "flops"} <= told.keys()
    assert told["flops"].keys() == {"fp32", "bf16", "int16", "int8"}
    assert [one["threads"] for one in told["by_threads"]] == [1, 2]
    assert told["read_bytes_per_s"] == told["by_threads"][1]["read_bytes_per_s"] > 0
    assert roofline.main(["--threads", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told  # known by now, so not measured again
    assert roofline.main(["--threads", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert told["isa"] in lines[0]
    assert lines[2].split() == ["threads", *columns, "fp32", "bf16", "int16", "int8"]
    stays = "A model that reads up to 8 MiB for a token stays in the last caches, and their speed is its limit."
    assert (stays in lines) == (told["cache_bytes_per_s"] is not None) == bool(caches)
    assert [one["cache_bytes"] for one in told["by_threads"]] == [sum(caches)] * 2
    assert [line.split()[0] for line in lines[3:5]] == ["1", "2"]


def test_every_test_is_a_row(capsys: pytest.CaptureFixture[str], synthetic: str) -> None:
    rows = rows_of(capsys, "--synthetic", synthetic, "--weights", "w4,w8", "-d", "0,20")
    assert [(row["weights"], row["test"]) for row in rows] == [
        (weights, test) for weights in ("w4", "w8") for test in ("pp40", "tg3", "pp40 @ d20", "tg3 @ d20")
    ]
    assert {row["engine"] for row in rows} == {"nearlight"}
    assert {row["label"] for row in rows} == {"calibrated"}
    assert all(row["avg_ts"] > 0 and row["limit_ts"] > 0 and row["predicted_ts"] > 0 for row in rows)
    assert all(row["ratio"] == pytest.approx(row["avg_ts"] / row["predicted_ts"]) for row in rows)
    assert all(row["adjusted_ts"] == pytest.approx(row["predicted_ts"]) for row in rows)  # as nothing changed


def test_what_was_predicted_stays_as_it_was_stored(
    capsys: pytest.CaptureFixture[str], synthetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Memory gives 4 GB/s until the prediction is stored, and half of that while the model is run.
    figures = itertools.chain([4e9], itertools.repeat(2e9))
    monkeypatch.setattr(measure, "read_now", lambda threads, source: next(figures))
    monkeypatch.setattr(processor, "last_caches", lambda root: [])
    _, decode = rows_of(capsys, "--synthetic", synthetic, "--no-calibration")
    assert (decode["predicted_read_bytes_per_s"], decode["read_bytes_per_s"]) == (4e9, 2e9)
    assert decode["predicted_ts"] == pytest.approx(2 * decode["adjusted_ts"])
    assert decode["limit_ts"] == decode["adjusted_ts"]  # without a calibration, it is the limit of the state
    assert decode["ratio"] == pytest.approx(decode["avg_ts"] / decode["predicted_ts"])


def test_a_small_model_is_held_against_the_cache(
    capsys: pytest.CaptureFixture[str], synthetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def glance(threads: int, source: str) -> float:
        asked.append(source)
        return 2e9

    monkeypatch.setattr(measure, "read_now", glance)
    monkeypatch.setattr(processor, "last_caches", lambda root: [8 << 20])
    assert bench.main(["--synthetic", synthetic, *QUICK, "--no-calibration"]) == 0
    told = capsys.readouterr()
    assert set(asked) == {"cache"}
    assert "| cache bandwidth |" in told.out
    assert "the processor's cache was read at 2.0 GB/s around these repetitions" in told.err
    (*_, decode) = rows_of(capsys, "--synthetic", synthetic, "--no-calibration")
    assert (decode["limit_of"], decode["bound"], decode["read_bytes_per_s"]) == ("cache", "bandwidth", 2e9)
    monkeypatch.setattr(processor, "last_caches", lambda root: [1 << 14])
    (*_, decode) = rows_of(capsys, "--synthetic", synthetic, "--no-calibration")
    assert (decode["limit_of"], decode["bound"], decode["read_bytes_per_s"]) == ("memory", "bandwidth", 2e9)


@pytest.mark.parametrize("option", ["--record", "--plot"])
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("missing/rows.svg", "missing: no such directory"),
        ("directory.svg", "directory.svg: cannot be written: expected a file, found a directory"),
        ("pipe.svg", "pipe.svg: cannot be written: expected a file, found a pipe"),
        ("device.svg", "device.svg: cannot be written: expected a file, found a device"),
        ("kept.svg", "kept.svg: may not be written; choose a file in a directory of yours"),
        ("locked/new.svg", "locked/new.svg: may not be written"),
    ],
)
def test_where_results_go_is_checked_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    name: str,
    line: str,
) -> None:
    (tmp_path / "directory.svg").mkdir()
    (tmp_path / "locked").mkdir()
    (tmp_path / "kept.svg").touch()
    (tmp_path / "device.svg").symlink_to("/dev/full")
    os.mkfifo(tmp_path / "pipe.svg")
    refused = {tmp_path / "kept.svg", tmp_path / "locked"}  # to root nothing is
    monkeypatch.setattr(os, "access", lambda path, mode: path not in refused)
    assert main(["bench", "--synthetic", "qwen3-0.6b", option, str(tmp_path / name)]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert line in told.err


def test_what_was_measured_is_shown_though_the_ledger_cannot_be_written(
    capsys: pytest.CaptureFixture[str], synthetic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise RequestError("ledger cannot be written", found="No space left on device")

    monkeypatch.setattr(bench.ledger, "append", full)
    ledger = str(tmp_path / "ledger.jsonl")
    assert main(["bench", "--synthetic", synthetic, *QUICK, "--no-calibration", "--record", ledger]) == 2
    told = capsys.readouterr()
    assert "| tg3" in told.out
    assert told.err.endswith("nearlight: ledger cannot be written: found No space left on device\n")


def test_a_package_is_measured_in_its_own_bits(capsys: pytest.CaptureFixture[str], base_model: Path) -> None:
    (prompt, *_) = rows_of(capsys, str(base_model), "--no-calibration", "--chunk", "best")
    assert prompt["weights"].startswith("stored ")
    assert prompt["n_ubatch"] == 40
    assert prompt["label"] == "measured"
    assert prompt["predicted_ts"] == prompt["limit_ts"]
    (again, *_) = rows_of(capsys, str(base_model), "--no-calibration", "--weights", "w8")
    assert again["weights"] == "w8"


def test_formats_tell_the_same(capsys: pytest.CaptureFixture[str], synthetic: str) -> None:
    def told(format: str) -> str:
        assert bench.main(["--synthetic", synthetic, *QUICK, "--no-calibration", "-o", format]) == 0
        captured = capsys.readouterr()
        assert ("tokenization" in captured.err) == (format == "md")
        return captured.out

    table = list(csv.DictReader(io.StringIO(told("csv"))))
    lines = [json.loads(line) for line in told("jsonl").splitlines()]
    markdown = told("md").splitlines()
    assert [row["test"] for row in table] == [row["test"] for row in lines] == ["pp40", "tg3"]
    assert json.loads(table[0]["bytes"]) == lines[0]["bytes"]
    caption, _, *lines_of_table = markdown
    assert caption.startswith("Tiny (synthetic), 243 k parameters, ")
    assert caption.endswith("weights bf16, 1 thread")
    header, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines_of_table)
    assert header[:2] == ["test", "t/s"]
    assert set("".join(rule)) == set("-:")
    assert [row[header.index("test")] for row in rows] == ["pp40", "tg3"]


def test_a_machine_that_keeps_changing_is_told(
    capsys: pytest.CaptureFixture[str], synthetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = itertools.cycle([60e9, 36e9])
    monkeypatch.setattr(measure, "read_now", lambda threads, source: next(states))
    rows = rows_of(capsys, "--synthetic", synthetic, "--no-calibration")
    assert all(row["unsteady"] and "36.0 GB/s" in row["unsteady_because"] for row in rows)
    assert bench.main(["--synthetic", synthetic, *QUICK, "--no-calibration"]) == 0
    told = capsys.readouterr()
    assert "| pp40 † |" in told.out
    assert "† tg3 is unsteady: 2 of 2 repetitions disturbed: reading went at" in told.out
    assert "tg3: repetitions thrown away: 4; of the last, reading went at" in told.err


def test_explain_accounts_for_the_time(capsys: pytest.CaptureFixture[str], synthetic: str) -> None:
    assert bench.main(["--synthetic", synthetic, *QUICK, "--no-calibration", "--explain"]) == 0
    text = capsys.readouterr().out
    assert text.count("time of") == 2
    for kind in ("q_proj", "attention", "head", "norms", "threads waiting", "around the step"):
        assert text.count(f"\n{kind}") == 2
    assert text.count("Choosing a token takes") == 1
    rows = rows_of(capsys, "--synthetic", synthetic, "--no-calibration", "--explain")
    assert all(sum(part["share"] for part in row["step"]["accounts"]) == pytest.approx(1) for row in rows)


def test_peers_stand_beside(
    capsys: pytest.CaptureFixture[str], synthetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nearlight.bench.peers import process

    monkeypatch.chdir(Path(__file__).parents[2])
    scripted = process.Peer("transformers", "tests.bench.idle_peer", "json", "")
    monkeypatch.setitem(process.PEERS, "transformers", scripted)
    arguments = ["--synthetic", synthetic, *QUICK, "--no-calibration", "--vs", "llama.cpp,transformers"]
    assert bench.main(arguments) == 0
    captured = capsys.readouterr()
    assert "llama.cpp is not installed, so it is left out" in captured.err
    engines = [line.split("|")[1].strip() for line in captured.out.splitlines() if line.startswith("| ")][2:]
    assert engines == ["nearlight", "transformers"] * 2
    assert captured.out.count("× as fast") == 2


def test_a_ledger_becomes_a_page(capsys: pytest.CaptureFixture[str], synthetic: str, tmp_path: Path) -> None:
    ledger = str(tmp_path / "ledger.jsonl")
    rows_of(capsys, "--synthetic", synthetic, "--record", ledger)
    assert bench.main(["--accuracy", ledger]) == 0
    page = capsys.readouterr().out
    assert page.startswith("# Accuracy of predictions\n")
    for kind in ("prefill", "decode"):
        assert f"| {kind} | calibrated | 1 |" in page
        assert f"| {kind} | calibrated, adjusted | 1 |" in page
    assert "| memory | counted | 2 |" in page


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--synthetic", "qwen3-0.7b"], "no model of this name in the catalogue"),
        (["--synthetic", "qwen3-0.6b", "--weights", "w3"], "weights: expected one of bf16"),
        (["x.gguf", "--synthetic", "qwen3-0.6b"], "a model and --synthetic; give one of them"),
        (["-p", "many"], "expected numbers like 64,128 or 4k, found 'many'"),
        (["-p", "0", "-n", "0"], "nothing to measure"),
        (["--synthetic", "qwen3-0.6b", "-r", "0"], "repetitions: expected at least 1, found 0"),
        (["--synthetic", "qwen3-0.6b", "-t", "0"], "argument -t/--threads: expected 1"),
        (["--synthetic", "qwen3-0.6b", "--chunk", "0"], "chunk: expected at least 1 row, found 0"),
        (["--chunk", "most"], "expected a number of rows or best, found 'most'"),
        (["--vs", "vllm"], "--vs: expected some of llama.cpp"),
        (["--vs", "openvino", "--peer-model", "openvino"], "expected PEER=PATH, found 'openvino'"),
        (["--synthetic", "qwen3-0.6b", "-d", "50000"], "pp512 @ d50000: expected at most 40960 tokens"),
        (["--accuracy", "/nowhere/ledger.jsonl"], "ledger cannot be read"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    assert main(["bench", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert line in captured.err
    assert captured.err.count("\n") == 1


def test_roofline_refuses_senseless_threads(nearlight: Command) -> None:
    done = nearlight("roofline", "-t", "0")
    assert done.returncode == 2
    assert done.stderr.startswith("nearlight: argument -t/--threads: expected 1")
