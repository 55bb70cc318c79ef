"""`run` with a prompt, as a person or a script sees it."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Command


def test_trim_is_for_chats(nearlight: Command) -> None:
    result = nearlight("run", "-p", "hello", "--trim")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "nearlight: --trim is for a chat; leave it out, or leave out the prompt\n"


def test_json_keeps_the_contract(nearlight: Command, chat_model: Path) -> None:
    result = nearlight("run", str(chat_model), "hello", "-n", "24", "--json", "--logprobs", "2", "--seed", "5")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert set(report) >= {"text", "token_ids", "finish_reason", "usage", "timing", "limit"}
    assert set(report["usage"]) >= {"prompt_tokens", "completion_tokens"}
    assert set(report["timing"]) == {"load_s", "ttft_s", "prefill_tok_s", "decode_tok_s"}
    assert set(report["limit"]) >= {"prefill_tok_s", "decode_tok_s", "decode_share", "label"}
    assert report["usage"]["completion_tokens"] == len(report["token_ids"]) == 24
    assert (report["finish_reason"], report["limit_reached"]) == ("length", "max_tokens")
    assert report["limit"]["label"] == "measured"
    assert (
        0
        < report["limit"]["decode_share"]
        == pytest.approx(report["timing"]["decode_tok_s"] / report["limit"]["decode_tok_s"])
    )
    assert (report["limit"]["of"], report["limit"]["probed"]) in itertools.product(
        ("memory", "cache"), ("before", "beside the run")
    )
    assert [len(entry["top"]) for entry in report["logprobs"]] == [2] * 24
    assert result.stderr == ""


def test_the_answer_alone_goes_to_stdout(nearlight: Command, chat_model: Path) -> None:
    options = ("run", str(chat_model), "hello", "-n", "6")
    answer = json.loads(nearlight(*options, "--json").stdout)["text"]
    result = nearlight(*options)
    assert result.stdout.removesuffix("\n") == answer.removesuffix("\n")
    assert result.stderr.startswith("6 tokens · TTFT ")
    assert not re.search("cache allows|machine.s limit", result.stderr)  # of six tokens, that means nothing
    assert nearlight(*options, "--quiet").stderr == ""


def test_a_base_model_prints_the_prompt_too(nearlight: Command, base_model: Path) -> None:
    completed = json.loads(nearlight("run", str(base_model), "a quick", "-n", "5", "--json").stdout)["text"]
    assert nearlight("run", str(base_model), "a quick", "-n", "5").stdout.rstrip("\n") == (
        "a quick" + completed
    ).rstrip("\n")
    alone = nearlight("run", str(base_model), "a quick", "-n", "5", "--no-echo").stdout
    assert alone.rstrip("\n") == completed.rstrip("\n")
    refused = nearlight("run", str(base_model), "a quick", "--system", "Be brief.")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--system needs a chat template" in refused.stderr


def test_the_prompt_may_come_from_stdin(nearlight: Command, base_model: Path) -> None:
    model = str(base_model)
    for arguments in (("run", model), ("run", model, "-"), ("run", "-m", model, "-")):
        assert nearlight(*arguments, "-n", "1", stdin="lazy über dog\n").stdout.startswith("lazy über dog")
    joined = nearlight("run", model, "It rains:", "-", "-n", "1", stdin="fox").stdout
    assert joined.startswith("It rains:\n\nfox")
    beside = nearlight("run", model, "lazy", "-n", "1", stdin="fox\n").stdout
    assert beside.startswith("fox\n\nlazy")


def test_flags_stand_before_between_and_after(nearlight: Command, base_model: Path) -> None:
    model = str(base_model)
    orders = (["-n", "2", model, "a fox"], [model, "-n", "2", "a fox"], [model, "-n", "2", "--", "a fox"])
    shown = {nearlight("run", "--temp", "0", *order).stdout for order in orders}
    assert len(shown) == 1
    assert shown.pop().startswith("a fox")
    assert nearlight("run", "-n", "2", "-m", model, "--", "-n 2").stdout.startswith("-n 2")


def test_others_names_of_formats(nearlight: Command, base_model: Path) -> None:
    answers = [
        nearlight("run", str(base_model), "a fox", "-n", "5", "--weights", name, "--json") for name in ("w8", "Q8_0")
    ]
    assert len({json.loads(answer.stdout)["text"] for answer in answers}) == 1
    assert [answer.stderr for answer in answers] == ["", "nearlight: weights Q8_0 are w8 here (blocks of Q8_0)\n"]


def test_flags_reach_the_model(nearlight: Command, chat_model: Path) -> None:
    def ids(*flags: str) -> list[int]:
        result = nearlight("run", str(chat_model), "hello", "-n", "8", "--json", *flags)
        assert result.returncode == 0, result.stderr
        token_ids: list[int] = json.loads(result.stdout)["token_ids"]
        return token_ids

    greedy = ids()
    assert ids("--logit-bias", f"{greedy[0]}=-inf")[0] != greedy[0]
    assert ids("--temperature", "3", "--seed", "1") == ids("--temperature", "3", "--seed", "1") != greedy
    assert ids("--system", "Be brief.") != greedy


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("rnu",), "unknown command 'rnu'; did you mean `nearlight run`?"),
        (("run", "missing.gguf", "hi"), "missing.gguf: no such model: expected a directory, a .gguf file, a hub id"),
        (("run", "hello"), "hello: no such model: expected a directory"),
        (("run", "MODEL", "x", "--temp", "nan"), "temperature: expected a number of at least 0, found nan"),
        (("run", "MODEL", "x", "--seed", "-1"), "seed: expected a whole number from 0 to 2^64 - 1, found -1"),
        (("run", "MODEL", "x", "-t", "5000"), "argument -t/--threads: expected 1"),
        (("run", "MODEL", ""), "the prompt is empty"),
        (("run", "MODEL", "x", "--top-p", "2"), "top_p: expected a number from 0 to 1, found 2.0"),
        (("run", "MODEL", "x", "--temperature", "warm"), "argument --temperature: expected a number, found 'warm'"),
        (("run", "MODEL", "x", "--logit-bias", "3"), "argument --logit-bias: expected TOKEN_ID=NUMBER, found '3'"),
        (("run", "MODEL", "x", "--weights", "w5"), "weights: expected one of bf16, w8, w6, w4, found 'w5'"),
        (("run", "MODEL", "x" * 999), "prompt and answer are longer than the context: expected at most 320 tokens"),
        (("run", "MODEL", "--jsno"), "unrecognized arguments: --jsno"),
    ],
)
def test_bad_input_is_one_line(
    nearlight: Command, chat_model: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    result = nearlight(*(str(chat_model) if word == "MODEL" else word for word in arguments))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"nearlight: {complaint}")
    assert result.stderr.count("\n") == 1


def test_help_version_and_commands(nearlight: Command) -> None:
    overview = nearlight("--help")
    assert overview.returncode == 0
    for command in ("run", "inspect", "pull", "list", "rm"):
        assert f"\n  {command} " in overview.stdout
        page = nearlight(command, "--help")
        assert (page.returncode, page.stderr) == (0, "")
        assert "examples:" in page.stdout
        assert "--json" in page.stdout
    assert nearlight("--version").stdout.startswith("nearlight 0.")


def test_a_reader_that_leaves_is_no_error(environment: dict[str, str], base_model: Path) -> None:
    command = f"{sys.executable} -m nearlight run {base_model} lazy -n 200 | head -c 2; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", command], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.returncode) == ("la", 141)
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


def test_ctrl_c_keeps_what_there_is(environment: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"answers": [[["one ", "answer"], ["two ", "answer"]] * 200], "waits_after": [1]}))
    command = [sys.executable, "-m", "tests.cli.scripted", str(script), "run", str(tmp_path), "count"]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(4) == b"one "
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert out.endswith(b"\n")
    assert b"stopped by you" in err
    assert b"Traceback" not in err


def test_thinking_is_for_terminals(environment: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"answers": [[["a thought", "thinking"], ["so: 4", "answer"]]]}))
    command = [sys.executable, "-m", "tests.cli.scripted", str(script), "run", str(tmp_path), "2+2"]
    piped = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert piped.stdout == "so: 4\n"
    assert "a thought" not in piped.stderr
    ours, theirs = pty.openpty()
    shown = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, check=True)
    assert shown.stdout == b"so: 4\n"
    expected, seen = b"\x1b[2ma thought\x1b[0m\r\n\r\n", b""
    while len(seen) < len(expected):
        seen += re.sub(rb"\x1b\[\?2026[hl]", b"", os.read(ours, 4096))
    assert seen.startswith(expected)
    os.close(theirs)
    os.close(ours)
