"""What the name of a model means."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearlight.cli.names import find_model, looks_like_model
from nearlight.errors import RequestError, UnsupportedError


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


@pytest.mark.parametrize("name", ["x.gguf", "no/such/model", "gpt5:4b", "~nobody-here/x", "a\0b"])
def test_no_such_model(name: str) -> None:
    with pytest.raises(RequestError, match="no such model: expected a directory"):
        find_model(name)


def test_an_unknown_id_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RequestError, match="org/name: not on this machine; `nearlight pull org/name` downloads it"):
        find_model("org/name", offline=True)


def test_a_name_of_the_catalogue_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planned_only: str
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RequestError, match="qwen3-8b: Qwen/Qwen3-8B is not on this machine; `nearlight pull Qwen/Qw"):
        find_model("qwen3-8b")  # without a terminal there is nobody to ask
    with pytest.raises(RequestError, match="Qwen/Qwen3-8B: not on this machine"):
        find_model("qwen3-8b", offline=True, assent=True)
    with pytest.raises(UnsupportedError, match="Phi-4-mini-instruct: nearlight cannot run models of the family phi3"):
        find_model("phi-4-mini", assent=True)


def test_advice_is_for_words_that_are_nothing() -> None:
    with pytest.raises(RequestError, match=r"^hello: no such model: expected a directory, .*; as a prompt: -p hello$"):
        find_model("hello", advice="as a prompt: -p hello")
