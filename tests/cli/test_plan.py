"""`nearlight plan` as a person and as a program meet it: exit codes, the verdict, the contract, bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nearlight.cli.main import main
from nearlight.dtypes import Q8_0
from nearlight.kernels.cpu import memory
from nearlight.kernels.cpu.memory import AvailableMemory
from nearlight.plan import make_plan, subject_of
from tests.cli.conftest import Command
from tests.engine.test_counting import package_of
from tests.kernels.counted_models import LLAMA, counted

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


def test_text_in_a_pipe_is_plain(nearlight: Command):
    result = nearlight("plan", "qwen1.5-7b", "--hardware", "rtx4090", "--context", "32768")
    assert result.returncode == 1
    assert result.stdout.startswith("Qwen1.5-7B does not fit: bf16 weights and 32768 tokens of context take 33.5 GB")
    assert not re.search(r"[\x1b█░]", result.stdout)
    assert result.stderr == ""


# -- the verdict -------------------------------------------------------------------------------------------------------


def test_verdict_comes_first_when_it_fits(capsys: pytest.CaptureFixture[str]):
    code, text = text_of(capsys, "qwen3-0.6b", "--hardware", "rtx4090")
    assert code == 0
    first, second = text.splitlines()[:2]
    assert first == "Qwen3-0.6B fits: bf16 weights and 4096 tokens of context take 2.27 GB of 25.8 GB."
    assert re.fullmatch(
        r"A prompt of 1000 tokens takes at least .* ms, and then at most \d+ tokens come a second\.", second
    )


def test_what_does_not_fit_is_told_what_would(capsys: pytest.CaptureFixture[str]):
    code, text = text_of(capsys, "qwen1.5-72b", "--hardware", "rtx4090")
    assert code == 1
    assert "not even the weights fit." in text.splitlines()[0]
    assert "  Qwen1.5-7B: a smaller model" in text
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
    monkeypatch.setattr("nearlight.cli.plan._subject", lambda name: subject_of(package))
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
    assert report["memory"]["available_is"] == "free of this container's 8.00 GB"
    code, text = text_of(capsys, "qwen3-1.7b")
    assert code == 1
    assert "there are 2.00 GB free of this container's 8.00 GB" in text


def test_remarks_say_what_is_taken_for_granted(capsys: pytest.CaptureFixture[str], box: str):
    _, report = report_of(capsys, "qwen3-30b-a3b", "--hardware", "h200")
    assert any("cannot run it yet" in remark for remark in report["remarks"])
    assert any("which experts" in remark for remark in report["remarks"])
    _, text = text_of(capsys, "gpt2", "--hardware", box, "--kv", "f16")
    assert "Note:" not in text


def test_machines_are_listed(capsys: pytest.CaptureFixture[str]):
    code, text = text_of(capsys, "--hardware", "list")
    assert code == 0
    assert re.search(r"^rtx4090 +NVIDIA GeForce RTX 4090 +26 GB +1008 GB/s +83 +165 +661$", text, re.M)


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
        (("mamba-130m",), "unsupported: mamba-130m-hf is of the family mamba"),
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
