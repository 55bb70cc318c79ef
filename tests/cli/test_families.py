"""`inspect`, `bench --synthetic` and `plan` take the same families and names, and refuse them in the same words."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from nearlight.cli.main import main
from nearlight.models import RUNNABLE, why_not_run
from nearlight.models.catalogue import catalogue
from nearlight.package import open_package
from tests.attacks import sound
from tests.cli.packages import write_chat_model
from tests.models.tiny_ggufs import FILES, all_files

GGUF_FILES = 26
LENGTHS = ("-p", "8", "-n", "0", "-r", "1", "--no-calibration")


@pytest.fixture(autouse=True)
def _nothing_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nearlight.package.hub.cache_directory", lambda: tmp_path / "hub")


class Said:
    """What a command gave: its exit code, its lines on stderr, its output."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        self.code = main([*arguments])
        captured = capsys.readouterr()
        self.out, self.error = captured.out, captured.err
        self.last = captured.err.rstrip("\n").rpartition("\n")[2]

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


def example_of(family: str) -> str:
    """Return the smallest published model of a family."""
    entries = [entry for entry in catalogue().values() if entry.model_type == family]
    return min(entries, key=lambda entry: entry.n_parameters or 0).short


# -- names -------------------------------------------------------------------------------------------------------------


PUBLISHED = {entry.model_type for entry in catalogue().values()}


def test_families_that_run_have_published_members():
    assert set(RUNNABLE) - PUBLISHED == {"ministral"}  # whose published members call themselves mistral


@pytest.mark.parametrize("family", sorted(PUBLISHED.intersection(RUNNABLE)))
def test_a_family_that_runs(capsys: pytest.CaptureFixture[str], family: str, monkeypatch: pytest.MonkeyPatch):
    name = example_of(family)
    inspected, planned = Said(capsys, "inspect", name, "--json"), Said(capsys, "plan", name, "--json", *machine())
    assert (inspected.code, inspected.json["runnable"], inspected.json["reason"]) == (0, True, None)
    assert (planned.code, planned.json["runnable"], planned.json["reason"]) == (0, True, None)
    assert inspected.json["params"]["total"] == planned.json["params"]["total"]
    described = []
    monkeypatch.setattr("nearlight.cli.bench.measure", lambda description, *rest: described.append(description))
    monkeypatch.setattr("nearlight.cli.bench._show", lambda sessions, format: None)
    assert Said(capsys, "bench", "--synthetic", name, *LENGTHS).code == 0
    assert described[0].architecture == family


def test_a_family_that_is_only_planned(capsys: pytest.CaptureFixture[str], planned_only: str):
    family = planned_only
    name, reason = example_of(family), why_not_run(family)
    assert reason == f"nearlight cannot run models of the family {family} yet; it can plan them"
    inspected, planned = Said(capsys, "inspect", name, "--json"), Said(capsys, "plan", name, "--json", *machine())
    assert (inspected.code, inspected.json["runnable"], inspected.json["reason"]) == (0, False, reason)
    assert reason in inspected.json["remarks"]
    assert (planned.json["runnable"], planned.json["fits"]) == (False, planned.code == 0)
    assert not planned.json["fits"] or planned.json["reason"] == reason
    assert inspected.json["params"]["total"] == planned.json["params"]["total"]
    bench = Said(capsys, "bench", "--synthetic", name, *LENGTHS)
    assert bench.code == 2
    assert bench.error.count("\n") == 1
    assert reason in bench.error


UNKNOWN = sorted({entry.model_type for entry in catalogue().values() if not entry.supported})


@pytest.mark.parametrize("family", UNKNOWN)
def test_a_family_that_cannot_even_be_planned(capsys: pytest.CaptureFixture[str], family: str):
    name = example_of(family)
    commands = (("inspect", name), ("plan", name), ("bench", "--synthetic", name, *LENGTHS))
    answers = [Said(capsys, *command) for command in commands]
    assert {answer.code for answer in answers} == {2}
    assert {answer.out for answer in answers} == {""}
    (line,) = {answer.error for answer in answers}
    assert f": nearlight can neither run nor plan models of the family {family} yet; it runs exaone4, falcon_h1" in line


@pytest.mark.parametrize("name", ["qwen3", "qwen9-1t", "gema-2-9b", "gpt5"])
def test_a_name_that_nobody_knows(capsys: pytest.CaptureFixture[str], name: str):
    answers = [
        Said(capsys, *command) for command in (("inspect", name), ("plan", name), ("bench", "--synthetic", name))
    ]
    assert {answer.code for answer in answers} == {2}
    (line,) = {answer.error for answer in answers}
    assert re.match(
        r"nearlight: no model of this name in the catalogue: expected .*; `nearlight plan --list` has", line
    )


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "smollm3", "granite", "perceptron"])
def test_a_file_of_each_kind(capsys: pytest.CaptureFixture[str], tmp_path: Path, architecture: str):
    keys = {key: value for key, value in sound.LLAMA_METADATA.items() if key.startswith("llama.")}
    renamed = {key.replace("llama", architecture, 1): value for key, value in keys.items()}
    path = tmp_path / "model.gguf"
    path.write_bytes(sound.sound_gguf(**renamed, **{"general.architecture": sound.typed(sound.STRING, architecture)}))
    inspected, planned = Said(capsys, "inspect", str(path), "--json"), Said(capsys, "plan", str(path), *machine()[:2])
    reason = why_not_run(architecture)
    assert inspected.code == planned.code == (2 if architecture == "perceptron" else 0)
    assert inspected.json["runnable"] == (architecture in RUNNABLE)
    assert (reason or "nearlight runs it there") in planned.out + planned.last
    assert inspected.json["params"]["total"] == sum(values.size for values in sound.weights().values())
    assert inspected.json["config"]["num_hidden_layers"] == 1


def test_files_of_many_families(capsys: pytest.CaptureFixture[str]):
    files = all_files()
    if not files:
        warnings.warn(f"not tested: no files in {FILES}; NEARLIGHT_TINY_GGUFS says where they are", stacklevel=1)
        return
    assert len(files) == GGUF_FILES
    for path in files:
        inspected = Said(capsys, "inspect", str(path), "--json")
        planned = Said(capsys, "plan", str(path), "--json", *machine())
        package = open_package(path)
        stored = sum(tensor.n_rows * tensor.row_length for tensor in package.tensors.values())
        assert inspected.json["params"]["total"] > 0, path.stem
        reason = why_not_run(package.model_type)
        if reason is None:
            assert (inspected.code, inspected.json["problems"], planned.code) == (0, [], 0), path.stem
            assert inspected.json["reason"] == planned.json["reason"] == reason, path.stem
            assert planned.json["runnable"] == inspected.json["runnable"] is True
            assert len(inspected.json["bits_per_weight"]) >= 3, path.stem  # told apart by what they are for
            unused = sum("are not used" in warning for warning in inspected.json["remarks"])
            assert inspected.json["params"]["total"] == planned.json["params"]["total"]
            assert Said(capsys, "run", str(path), "-p", "a", "-n", "2", "--no-cache").code == 0
            assert unused or planned.json["params"]["total"] == stored, path.stem
        else:
            assert (inspected.code, planned.code) == (2, 2), path.stem
            assert reason == f"nearlight can neither run nor plan models of the family {package.model_type} yet"
            assert inspected.json["bytes"] == sum(tensor.n_bytes for tensor in package.tensors.values())
            assert inspected.json["params"]["total"] == stored
            assert reason in inspected.last, path.stem
            assert reason in planned.last, path.stem
            assert planned.error.count("\n") == 1


def test_directories(capsys: pytest.CaptureFixture[str], tmp_path: Path, planned_only: str):
    package = write_chat_model(tmp_path / "Tiny")
    config = json.loads((package / "config.json").read_text())
    for family in ("qwen3", planned_only, "perceptron"):
        (package / "config.json").write_text(json.dumps(config | {"model_type": family}))
        inspected = Said(capsys, "inspect", str(package), "--json")
        synthetic = Said(capsys, "bench", "--synthetic", str(package), "-n", "1", "-p", "0", "-r", "1", "-o", "json")
        reason = why_not_run(family)
        assert inspected.code == (2 if family == "perceptron" else 0)
        assert inspected.json["runnable"] == (reason is None)
        assert synthetic.code == (2 if reason else 0)
        assert reason is None or (reason in synthetic.last and reason in inspected.out)
        config_file = str(package / "config.json")
        planned, looked = Said(capsys, "plan", config_file, *machine()), Said(capsys, "inspect", config_file)
        assert planned.code == looked.code == inspected.code
        assert (reason or "nearlight runs it there") in planned.out + planned.last
        assert (reason or "this is what its config says\n") in looked.out + looked.last


def machine() -> tuple[str, ...]:
    return ("--hardware", "epyc9755", "--context", "256", "--prompt", "8")
