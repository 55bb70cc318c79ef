"""`nearlight plan` as a person and as a program meet it: exit codes, the verdict, the contract, bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nearlight.cli.main import main
from nearlight.cli.plan.listing import models_text
from nearlight.dtypes import Q8_0
from nearlight.machine import memory
from nearlight.machine.memory import AvailableMemory
from nearlight.models.catalogue import catalogue
from nearlight.plan import make_plan, subject_of
from nearlight.quantities import count_text, memory_text
from tests.cli.conftest import Command
from tests.counting.test_counted_model import package_of
from tests.kernels.counted_models import LLAMA, counted
from tests.terminal.screen import Screen

CONTRACT = {
    "params": {"embedding", "layers", "lm_head", "total", "active"},
    "memory": {"weights", "kv", "overhead", "total", "available"},
    "prefill": {"n_prompt", "read_s", "compute_s", "ttft_s", "bound", "inflection_tokens"},
    "decode_line": {"first_s", "tokens_per_ms"},
    "hardware": {"name", "bytes_per_s", "flops", "memory_bytes", "source"},
}
ROW = {"name": "toy", "kind": "cpu", "memory_bytes": 8e9, "bytes_per_s": 5e10, "flops": {"fp32": 5e11, "int8": 2e12}}


@pytest.fixture
def box(tmp_path: Path) -> str:
    path = tmp_path / "box.json"
    path.write_text(json.dumps(ROW))
    return str(path)


@pytest.fixture(autouse=True)
def _nothing_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nearlight.package.hub.cache_directory", lambda: tmp_path / "hub")


def report_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["plan", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def text_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["plan", *arguments])
    return code, capsys.readouterr().out


# -- the whole command -------------------------------------------------------------------------------------------------


def test_this_machine_as_measured(nearlight: Command, chat_model: Path):
    result = nearlight("plan", str(chat_model), "--json", "--threads", "1")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["label"] == "measured"
    assert report["hardware"]["name"].endswith(", 1 thread")
    assert report["weights"] == "stored bits"
    assert report["max_context"] == 320
    assert report["params"]["embedding"] == 303 * 48


def test_states_beside_keys_and_values_are_told(capsys: pytest.CaptureFixture[str]):
    _, hybrid = text_of(capsys, "qwen3.5-0.8b", "--hardware", "epyc9755")
    _, plain = text_of(capsys, "qwen3-0.6b", "--hardware", "epyc9755")
    assert "each, and states that do not grow" in hybrid
    assert "states" not in plain


def test_text_in_a_pipe_is_plain(nearlight: Command):
    result = nearlight("plan", "qwen1.5-7b", "--hardware", "rtx4090", "--context", "32768")
    assert result.returncode == 1
    assert result.stdout.startswith("Qwen1.5-7B does not fit: bf16 weights and 32768 tokens of context take 31.2 GiB")
    assert not re.search(r"[\x1b█░]", result.stdout)
    assert result.stderr == ""


# -- the verdict -------------------------------------------------------------------------------------------------------


def test_verdict_comes_first_when_it_fits(capsys: pytest.CaptureFixture[str]):
    code, text = text_of(capsys, "qwen3-0.6b", "--hardware", "ryzen7950x")
    assert code == 0
    first, second = text.splitlines()[:2]
    assert first == (
        "Qwen3-0.6B fits, and nearlight runs it there: "
        "bf16 weights and 4096 tokens of context take 1.73 GiB of 128 GiB."
    )
    assert re.fullmatch(
        r"A prompt of 1000 tokens takes at least .* ms, and then at most \d+ tokens come a second\.", second
    )


def test_what_would_fit_but_does_not_run_is_told_in_the_first_line(
    capsys: pytest.CaptureFixture[str], planned_only: str
):
    code, text = text_of(capsys, "qwen3-0.6b", "--hardware", "rtx4090")
    assert code == 0
    first, second = text.splitlines()[:2]
    assert first.startswith("Qwen3-0.6B would fit; nearlight cannot run it yet: bf16 weights and 4096 tokens")
    assert first.endswith(" of 24 GiB.")
    assert second == "nearlight does not run on GPUs yet, only on CPUs."
    assert text.count("GPUs") == 1
    _, text = text_of(capsys, "phi-4-mini", "--hardware", "ryzen7950x")
    assert text.startswith("Phi-4-mini-instruct would fit; nearlight cannot run it yet: ")
    assert text.count("family phi3") == 1


def test_programs_are_told_whether_it_runs(capsys: pytest.CaptureFixture[str], planned_only: str):
    asked = {
        ("gpt2", "ryzen7950x"): (0, True, True, None),
        ("gpt2", "m2"): (0, True, False, "nearlight does not run on GPUs yet, only on CPUs"),
        ("phi-4-mini", "m2"): (
            0,
            True,
            False,
            "nearlight cannot run models of the family phi3 yet; it can plan them",
        ),
        ("qwen1.5-72b", "m2"): (1, False, False, "it needs 146 GiB, and there are 24 GiB"),
    }
    for (model, machine), (code, fits, runnable, reason) in asked.items():
        found, report = report_of(capsys, model, "--hardware", machine)
        assert (found, report["fits"], report["runnable"]) == (code, fits, runnable), model
        assert report["reason"] == reason, model


def test_words_are_explained_where_they_stand(capsys: pytest.CaptureFixture[str]):
    _, text = text_of(capsys, "gpt2", "--hardware", "ryzen7950x")
    assert "Up to there a step takes as long as reading all weights; beyond, computing takes longer" in text
    assert text.count("2^30") == 1
    assert re.search(r"^KV cache +", text, re.M)
    assert not re.search(r"(?<!KV )cache", text)


def test_what_does_not_fit_is_told_what_would(capsys: pytest.CaptureFixture[str]):
    code, text = text_of(capsys, "qwen1.5-72b", "--hardware", "rtx4090")
    assert code == 1
    assert "not even the weights fit." in text.splitlines()[0]
    assert "  qwen1.5-32b --weights w4: a smaller model, whose weights take 17.4 GiB" in text
    assert "tok/s" not in text
    assert "tokens come a second" not in text


def test_formats_stand_side_by_side(capsys: pytest.CaptureFixture[str]):
    _, text = text_of(capsys, "qwen1.5-7b", "--hardware", "rtx4090", "-c", "32768")
    lines = text.splitlines()
    header = next(line for line in lines if line.startswith("tok/s at a context of"))
    assert header.split()[-4:] == ["bf16", "w8", "w6", "w4"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[lines.index(header) + 1 :] if line}
    plans = [make_plan("qwen1.5-7b", "rtx4090", weights=name, context=32768) for name in header.split()[-4:]]
    assert rows["1024"] == [f"{plan.decode_at(1024).tok_s:.0f}" for plan in plans]
    assert rows["32768"][:2] == ["–", "–"]
    assert rows["longest"][1:] == [str(plan.max_context) for plan in plans]


def test_bits_that_a_file_lost_are_not_compared(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    sizes = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "num_attention_heads": 4, "vocab_size": 96}
    config = LLAMA | sizes
    names = [parameter.name for parameter in counted(config).model.parameters()]
    package = package_of(config, dict.fromkeys(names, Q8_0))
    monkeypatch.setattr("nearlight.cli.plan.command._subject", lambda name: subject_of(package))
    _, stored = report_of(capsys, "small", "--hardware", "m1")
    assert [each["weights"] for each in stored["compare"]] == ["stored bits", "w6", "w4"]
    _, asked = report_of(capsys, "small", "--hardware", "m1", "--weights", "w6")
    assert asked["weights"] == "w6"
    assert [each["weights"] for each in asked["compare"]] == ["stored bits", "w6", "w4"]


# -- for programs ------------------------------------------------------------------------------------------------------


def test_json_keeps_the_contract(capsys: pytest.CaptureFixture[str]):
    code, report = report_of(capsys, "gpt2", "--hardware", "ryzen7950x")
    assert code == 0
    for key, names in CONTRACT.items():
        assert names <= report[key].keys()
    assert {"model", "kv_bytes_per_token", "fits", "max_context", "decode"} <= report.keys()
    assert {"context", "tpot_s", "tok_s", "bound"} <= report["decode"][0].keys()
    assert [each["weights"] for each in report["compare"]] == ["bf16", "w8", "w6", "w4"]
    assert (report["users"], report["speculation"], report["thinking"]) == (None, None, None)


def test_blog_convention(capsys: pytest.CaptureFixture[str]):
    options = ("--hardware", "rtx4090", "--convention", "blog", "--weights", "w8", "--kv", "16", "--prompt", "1000")
    _, report = report_of(capsys, "qwen1.5-7b", *options)
    assert report["max_context"] == 35612
    assert round(1000 * report["prefill"]["ttft_s"], 2) == 142.68
    assert round(report["decode_line"]["tokens_per_ms"]) == 2064


def test_what_if(capsys: pytest.CaptureFixture[str], box: str):
    asked = ("--sla", "ttft=2s,tpot=50ms", "--answer", "100", "--speculate", "0.7", "--think", "300", "-p", "200")
    code, report = report_of(capsys, "gpt2", "--hardware", box, "--weights", "w4", *asked)
    assert code == 0
    assert report["users"]["load"] == {"n_prompt": 200, "n_answer": 100}
    assert report["users"]["count"] > 1
    assert report["speculation"]["speedup"] > 1.5
    assert report["thinking"]["n_tokens"] == 300
    _, text = text_of(capsys, "gpt2", "--hardware", box, "--weights", "w4", *asked)
    assert f"users        {report['users']['count']} at once (prompts of 200, answers of 100)" in text
    assert "70 % accepted" in text
    assert "300 tokens put the answer off by" in text


def test_a_promise_that_cannot_be_kept(capsys: pytest.CaptureFixture[str], box: str):
    code, text = text_of(
        capsys, "gpt2", "--hardware", box, "--weights", "w4", "-p", "99", "--sla", "ttft=1ms,tpot=0.1ms"
    )
    assert code == 1
    assert "none can be promised this" in text


def test_context_grows_to_what_is_asked(capsys: pytest.CaptureFixture[str]):
    _, report = report_of(capsys, "qwen3-0.6b", "--hardware", "rtx4090", "--think", "9000")
    assert report["context"] == 10_000


def test_the_usual_prompt_makes_room_in_a_short_context(capsys: pytest.CaptureFixture[str]):
    code, report = report_of(capsys, "gpt2", "--hardware", "rtx4090", "--think", "500")
    assert code == 0
    assert (report["context"], report["prefill"]["n_prompt"]) == (1024, 524)
    assert report["thinking"]["n_tokens"] == 500
    _, report = report_of(capsys, "gpt2", "--hardware", "rtx4090", "--sla", "ttft=2s,tpot=50ms", "--context", "600")
    assert report["prefill"]["n_prompt"] == 100


def test_this_machine_has_what_is_free(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    free = AvailableMemory(2_000_000_000, 8_000_000_000, "this container")
    monkeypatch.setattr(memory, "available_memory", lambda: free)
    code, report = report_of(capsys, "qwen3-0.6b")
    assert code == 0
    assert report["memory"]["available"] == 2e9
    assert report["memory"]["available_is"] == "free of this container's 7.45 GiB"
    code, text = text_of(capsys, "qwen3-1.7b")
    assert code == 1
    assert "there are 1.86 GiB free of this container's 7.45 GiB" in text


def test_a_model_that_stays_in_the_cache_has_its_limit(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    def box(n_bytes: float) -> list[str]:
        path = tmp_path / "box.json"
        path.write_text(json.dumps(ROW | {"cache": {"n_bytes": n_bytes, "bytes_per_s": 2e11}}))
        return ["gpt2", "--hardware", str(path), "--weights", "bf16"]

    _, large = report_of(capsys, *box(1 << 30))
    _, small = report_of(capsys, *box(1 << 20))
    assert large["hardware"]["cache"] == {"n_bytes": 1 << 30, "bytes_per_s": 2e11}
    assert large["decode"][0]["tok_s"] == pytest.approx(4 * small["decode"][0]["tok_s"])
    assert "read from  the last caches (1 GiB at 200 GB/s), where all" in text_of(capsys, *box(1 << 30))[1]
    assert "read from" not in text_of(capsys, *box(1 << 20))[1]


def test_notes_say_what_is_taken_for_granted(capsys: pytest.CaptureFixture[str], box: str):
    _, report = report_of(capsys, "qwen3-30b-a3b", "--hardware", "h200")
    assert len(report["remarks"]) == 1
    assert "which experts" in report["remarks"][0]
    _, text = text_of(capsys, "gpt2", "--hardware", box, "--kv", "f16")
    assert "Note:" not in text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (24 * 2**30, "24 GiB"), (147456, "144 KiB"), (604 * 2**20, "604 MiB"), (1.72 * 2**30, "1.72 GiB")],
)
def test_memory_is_told_as_it_is_sold(n_bytes: float, text: str):
    assert memory_text(n_bytes, 3) == text


def test_machines_are_listed(capsys: pytest.CaptureFixture[str]):
    code, text = text_of(capsys, "--hardware", "list")
    assert code == 0
    assert re.search(r"^rtx4090 +NVIDIA GeForce RTX 4090 +24 GiB +1008 GB/s +83 +165 +661$", text, re.M)


def test_models_are_listed_by_what_nearlight_can_do(capsys: pytest.CaptureFixture[str], planned_only: str):
    code, text = text_of(capsys, "--list")
    assert code == 0
    runs, plans, neither = text.split("\n\n")
    assert "- qwen3-0.6b 596 M, qwen3-1.7b 1.72 B, " in runs
    assert "mistral-7b 7.25 B" in runs
    assert "- gemma-2-2b 2.61 B, gemma-2-9b 9.24 B, gemma-2-27b 27.2 B\n" in runs
    assert "phi-4-mini 3.84 B" in plans
    assert "deepseek-v3" in neither
    assert sum(part.count("-0.6b 596 M") for part in (runs, plans, neither)) == 1
    code, text = text_of(capsys, "--list", "OLMo")
    assert re.findall(r"olmo-2-\w+", text) == ["olmo-2-1b", "olmo-2-7b", "olmo-2-13b", "olmo-2-32b"]


def test_the_list_for_programs(capsys: pytest.CaptureFixture[str], planned_only: str):
    code, listed = report_of(capsys, "--list")
    assert code == 0
    assert [row["name"] for row in listed] == list(catalogue())
    rows = {row["name"]: row for row in listed}
    assert rows["qwen3-8b"]["runnable"]
    assert rows["qwen3-8b"]["repository"] == "Qwen/Qwen3-8B"
    assert rows["qwen3-8b"]["params"] == 8190735360
    assert (rows["phi-4"]["plannable"], rows["phi-4"]["runnable"]) == (True, False)
    assert "phi3" in rows["phi-4"]["reason"]
    assert not rows["deepseek-v3"]["plannable"]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_list_fits_the_screen(monkeypatch: pytest.MonkeyPatch, width: int):
    monkeypatch.setenv("COLUMNS", str(width))
    screen = Screen(width, 400)
    lines = re.sub(r"\x1b\[\d*m", "", models_text(None, screen)).splitlines()
    assert max(map(len, lines)) <= width
    assert max(map(len, lines)) > width - 16
    for entry in catalogue().values():  # no name is broken, and a size stays beside its name
        size = f" {count_text(entry.n_parameters)}" if entry.n_parameters else ""
        assert any(f"{entry.short}{size}" in line for line in lines), entry.short


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_plot_is_written(capsys: pytest.CaptureFixture[str], box: str, tmp_path: Path):
    path = tmp_path / "plan.svg"
    assert main(["plan", "gpt2", "--hardware", box, "--plot", str(path)]) == 0
    assert capsys.readouterr().err.endswith(f"drawn: {path}\n")
    picture = path.read_text("utf-8")
    assert "gpt2, bf16, on toy" in picture
    assert "time per token (ms)" in picture


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("qwen3",), "no model of this name in the catalogue: expected perhaps qwen3-"),
        (("Someone/Nothing-7B",), "Someone/Nothing-7B: not on this machine; `nearlight pull Someone/Nothing-7B`"),
        (("nowhere.gguf",), "nowhere.gguf: no such model"),
        (
            ("deepseek-v3",),
            "DeepSeek-V3: nearlight can neither run nor plan models of the family deepseek_v3 yet; it runs exaone4",
        ),
        (("gpt2", "--hardware", "rtx409"), "hardware: expected one of rtx4090"),
        (("gpt2", "--hardware", "none.json"), "none.json: cannot be read"),
        (("gpt2", "--hardware", "rtx4090", "--threads", "1"), "--threads is for this machine"),
        (("gpt2", "--threads", "0"), "argument -t/--threads: expected 1"),
        (("gpt2", "--weights", "w5", "--hardware", "m1"), "weights: expected one of bf16, w8, w6, w4"),
        (("gpt2", "--context", "4096", "--hardware", "m1"), "context: expected at most 1024, the model's own"),
        (("gpt2", "--sla", "fast"), "sla: expected like ttft=2s,tpot=50ms, found 'fast'"),
        (("gpt2", "--speculate", "1.5"), "--speculate: expected an acceptance rate from 0 to 1"),
        (("gpt2", "--speculate", "nan"), "--speculate: expected an acceptance rate from 0 to 1"),
        (("gpt2", "--think", "0", "--hardware", "m1"), "--think: expected at least 1 token, found 0"),
        (("gpt2", "--think", "1024", "--hardware", "m1"), "prompt and what follows it: expected at most 1024 tokens"),
        (("gpt2", "--think", "500", "-p", "600", "--hardware", "m1"), "prompt and what follows it: expected at most"),
        (("--list", "zebra"), "no model with this in its name: found 'zebra'"),
        (("gpt2", "--answer", "9"), "--answer is for --sla"),
        (("gpt2", "--plot", "plan.gif"), "plan.gif: kind of picture: expected .png or .svg or .html"),
        (("gpt2", "--plot", "nowhere/plan.png"), "nowhere: no such directory"),
        (("gpt2", "--bits", "4"), "unrecognized arguments: --bits 4; see `nearlight plan --help`"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str):
    assert main(["plan", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"nearlight: {complaint}")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not JSON; docs/limits.md shows such a row"),
        ("[1]", "a machine: expected a JSON object, found list"),
        (json.dumps({**ROW, "bytes_per_s": 0}), "bytes_per_s: expected a positive number, found 0"),
        (json.dumps({"name": "toy"}), "memory_bytes, bytes_per_s, flops: expected a row with"),
    ],
)
def test_bad_rows_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, complaint: str):
    path = tmp_path / "row.json"
    path.write_text(content)
    assert main(["plan", "gpt2", "--hardware", str(path)]) == 2
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.err.count("\n") == 1
