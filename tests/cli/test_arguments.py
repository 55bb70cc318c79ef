"""Flags stand anywhere, numbers are read as people write them, and nonsense is refused before anything is loaded."""

from __future__ import annotations

import argparse
import itertools

import pytest

from nearlight.cli import arguments
from nearlight.cli.arguments import Parser, add_decoding, decoding_options, nearest_weights
from nearlight.errors import RequestError
from nearlight.machine import threads


@pytest.fixture
def parser() -> Parser:
    parser = Parser("run", "Test.", "none")
    parser.add_argument("words", nargs="*")
    parser.add_argument("-c", type=arguments.token_count)
    parser.add_argument("-t", type=arguments.thread_count)
    add_decoding(parser)
    return parser


def test_flags_stand_anywhere(parser: Parser) -> None:
    for order in itertools.permutations((("-n", "5"), ("M",), ("--json",), ("--stop=x",))):
        args = parser.parse_args([*itertools.chain(*order), "a prompt"])
        assert (args.words, args.max_tokens, args.json, args.stop) == (["M", "a prompt"], 5, True, ["x"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["M", "--", "-n"], ["M", "-n"]),
        (["-n", "5", "--", "--json", "-p 5"], ["--json", "-p 5"]),
        (["--", "a", "--", "-"], ["a", "--", "-"]),
        (["M", "-", "-n", "5"], ["M", "-"]),
        (["M", "-5"], ["M", "-5"]),
        (["M", "--"], ["M"]),
    ],
)
def test_behind_two_dashes_all_are_words(parser: Parser, given: list[str], words: list[str]) -> None:
    args = parser.parse_args(given)
    assert args.words == words
    assert not args.json


def test_single_words_too() -> None:
    parser = Parser("cache", "Test.", "none")
    parser.add_argument("action", nargs="?", choices=("list", "clear"), default="list")
    parser.add_argument("name", nargs="?")
    for given in (["clear", "--json", "-m"], ["--json", "clear", "-m"], ["clear", "-m", "--json"]):
        given[given.index("-m")] = "M"
        args = parser.parse_args(given)
        assert (args.action, args.name, args.json) == ("clear", "M", True)
    assert parser.parse_args(["clear", "--", "-m"]).name == "-m"
    with pytest.raises(RequestError, match="invalid choice: '-x'"):
        parser.parse_args(["--", "-x"])
    with pytest.raises(RequestError, match="unrecognized arguments: -x;"):
        parser.parse_args(["clear", "M", "--", "-x"])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["-c", "-8"], "argument -c: expected a whole number, like 4096, 8k .*, found '-8'"),
        (["-c", "8 kilo"], "argument -c: expected a whole number"),
        (["-n", "1.5"], "argument -n/--max-tokens: expected a whole number"),
        (["--stop", ""], "argument --stop: expected a text to stop at, found nothing"),
        (["-t", "0"], "argument -t: expected 1 to 2, the processors here, found '0'"),
        (["-t", "3"], "argument -t: expected 1 to 2, the processors here, found '3'"),
        (["-t", "9" * 5000], "argument -t: expected 1 to 2"),
        (["-t", "two"], "argument -t: expected 1 to 2"),
        (["--top-k", "few"], "argument --top-k: expected a whole number, found 'few'"),
        (["--temp", "hot"], "argument --temp: expected a number, found 'hot'"),
        (["--jsno"], "unrecognized arguments: --jsno x; did you mean --json\\?"),
        (["--temprature", "1"], "unrecognized arguments: --temprature .*; did you mean --temperature\\?"),
        (["--temprature=1"], "unrecognized arguments: --temprature=1 x; did you mean --temperature\\?"),
        (["--tmpp"], "unrecognized arguments: --tmpp x; did you mean --temp\\?"),
        (["--penalty"], "unrecognized arguments: --penalty x; see `nearlight run --help`"),
        (["--xyzzy"], "unrecognized arguments: --xyzzy x; see `nearlight run --help`"),
    ],
)
def test_nonsense(parser: Parser, monkeypatch: pytest.MonkeyPatch, given: list[str], complaint: str) -> None:
    monkeypatch.setattr(threads, "processors", lambda: {4, 7})
    with pytest.raises(RequestError, match=complaint):
        parser.parse_args(["M", *given, "x"])


def test_numbers_as_people_write_them(parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "processors", lambda: {4, 7})
    args = parser.parse_args(["M", "-c", "8k", "-n", "2Ki", "-t", "2", "--temp", "0.5"])
    assert (args.c, args.t) == (8000, 2)
    assert decoding_options(args) == {"max_tokens": 2048, "temperature": 0.5}


@pytest.mark.parametrize(
    ("flags", "think"), [([], None), (["--think"], True), (["--no-think"], False), (["--effort", "low"], "low")]
)
def test_thinking_is_switched_or_measured_out(parser: Parser, flags: list[str], think: object) -> None:
    assert decoding_options(parser.parse_args(flags)).get("think") == think


def test_one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "processors", lambda: {3})
    assert arguments.thread_count("1") == 1
    with pytest.raises(argparse.ArgumentTypeError, match="expected 1, the only processor here, found '2'"):
        arguments.thread_count("2")


def test_other_names_of_weights_are_said_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    assert nearest_weights("Q4_K_M") == "w4"
    assert capsys.readouterr().err == (
        "nearlight: weights Q4_K_M are w4 here (blocks of Q4_0, with embedding and head in Q6_K)\n"
    )
    assert [nearest_weights(name) for name in ("w8", "w5", None)] == ["w8", "w5", None]
    assert capsys.readouterr().err == ""
