"""What the words of a command line are taken to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearlight.cli.source import Words, find_model, looks_like_model, sort_words
from nearlight.errors import RequestError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Words(None, None)),
        (["def fib(n):"], Words(None, "def fib(n):")),
        (["a/b"], Words("a/b", None)),
        (["a/b:Q4_K_M", "Why?"], Words("a/b:Q4_K_M", "Why?")),
        (["x.gguf"], Words("x.gguf", None)),
        (["model", "prompt"], Words("model", "prompt")),
        (["def"], Words(None, "def", guessed=True)),
        (["a/b", "-"], Words("a/b", None, reads_stdin=True)),
        (["a/b", "Sum up:", "-"], Words("a/b", "Sum up:", reads_stdin=True)),
        (["-"], Words(None, None, reads_stdin=True)),
    ],
)
def test_words(words: list[str], expected: Words) -> None:
    assert sort_words(words) == expected


def test_flags_leave_nothing_to_guess() -> None:
    assert sort_words(["a/b"], model="m") == Words("m", "a/b")
    assert sort_words(["m"], prompt="p") == Words("m", "p")
    assert sort_words([], prompt="a/b") == Words(None, "a/b")
    for words, model, prompt in ((["a", "b", "c"], None, None), (["a"], "m", "p"), (["a", "b"], "m", None)):
        with pytest.raises(RequestError, match="too many words"):
            sort_words(words, model, prompt)


@pytest.mark.parametrize(
    "word", ["~/models/x", "./x", "../a b/x", "/data/x", "a/b/c", "x.gguf", "my model.gguf", "qwen3:4b"]
)
def test_what_is_meant_as_a_model(word: str) -> None:
    assert looks_like_model(word)


@pytest.mark.parametrize(
    "word", ["", "def f(a/b):", "Why is it dark?", "yes / no", "# a/b\nx = 1", "hello", "/* c */ int x;", "1/2 = ?"]
)
def test_what_is_meant_as_a_prompt(word: str) -> None:
    assert not looks_like_model(word)


def test_an_existing_path_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hello").mkdir()
    assert not looks_like_model("hello")
    monkeypatch.chdir(tmp_path)
    assert looks_like_model("hello")
    assert find_model("hello") == Path("hello")


@pytest.mark.parametrize("name", ["x.gguf", "no/such/model", "qwen3:4b"])
def test_no_such_model(name: str) -> None:
    with pytest.raises(RequestError, match="no such model: expected a directory"):
        find_model(name)


def test_an_unknown_id_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RequestError, match="org/name: not on this machine; `nearlight pull org/name` downloads it"):
        find_model("org/name", offline=True)
