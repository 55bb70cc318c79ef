"""What is asked of an answer, and of a load, is checked before any work: one line for wrong types and values."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearlight
from nearlight.engine.options import check_options, stops_of
from nearlight.errors import RequestError
from tests.cli.packages import write_chat_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> nearlight.LanguageModel:
    return nearlight.load(write_chat_model(tmp_path_factory.mktemp("models") / "Tiny-Chat"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"max_tokens": "5"}, "max_tokens: expected a whole number of at least 0, found '5'"),
        ({"max_tokens": 5.0}, "max_tokens: expected a whole number of at least 0, found 5.0"),
        ({"max_tokens": True}, "max_tokens: expected a whole number"),
        ({"thinking_budget": -1}, "thinking_budget: expected a whole number of at least 0, found -1"),
        ({"stop": [1]}, r"stop: expected a text to stop at, or a list of such, found \[1\]"),
        ({"stop": ""}, "stop: expected a text to stop at"),
        ({"stop": ["x", ""]}, "stop: expected a text to stop at"),
        ({"stop": 5}, "stop: expected a text to stop at"),
        ({"temperature": "hot"}, "temperature: expected a number of at least 0, found 'hot'"),
        ({"temperature": float("nan")}, "temperature: expected a number of at least 0, found nan"),
        ({"logit_bias": [1]}, "logit_bias: expected a mapping"),
        ({"temprature": 1}, r"no option is called 'temprature'; did you mean temperature\?"),
        ({"max_token": 1}, r"no option is called 'max_token'; did you mean max_tokens\?"),
        ({"xyzzy": 1}, r"no option is called 'xyzzy'; help\(nearlight\) lists them"),
    ],
)
def test_options(model: nearlight.LanguageModel, options: dict[str, Any], complaint: str) -> None:
    chat = model.conversation()
    for ask in (
        check_options,
        lambda options: model.generate("x", **options),
        lambda options: chat.say("x", **options),
    ):
        with pytest.raises(RequestError, match=f"^{complaint}") as caught:
            ask(options)
        assert "\n" not in str(caught.value)
    assert chat.messages == []


def test_what_is_not_given_is_no_option() -> None:
    check_options({"max_tokens": None, "stop": None, "temperature": None, "seed": None, "on_prefill": None})
    check_options({"max_tokens": np.int64(5), "temperature": np.float32(0.5)})
    assert [stops_of({"stop": stop}) for stop in (None, "a", ("b", "c"), [])] == [[], ["a"], ["b", "c"], []]


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        (None, "prompt: expected a text, messages, or token ids, found None"),
        (3, "prompt: expected a text, messages, or token ids, found 3"),
        (b"ids", "prompt: expected a text"),
        ({"role": "user", "content": "x"}, "prompt: expected a text, messages"),
        ([1, "two"], "part 1 of the prompt: expected a token id, or messages only, found 'two'"),
        ([1, 2.0], "part 1 of the prompt: expected a token id"),
        ([True], "part 0 of the prompt: expected a token id"),
        ([1, {"role": "user", "content": "x"}], "part 1 of the prompt: expected a token id, or messages only"),
        ([{"content": "x"}], r"message 0: expected an object with role and content, found \{'content': 'x'\}"),
        ([{"role": "user", "content": "x"}, {"role": "user"}], "message 1: expected an object with role and content"),
        ([{"role": "user", "content": "x"}, "y"], "message 1: expected an object"),
        ([{"role": 3, "content": "x"}], "message 0: expected an object"),
        ([], "the prompt is empty"),
        ("", "the prompt is empty"),
    ],
)
def test_prompts(model: nearlight.LanguageModel, prompt: Any, complaint: str) -> None:
    with pytest.raises(RequestError, match=f"^{complaint}"):
        model.generate(prompt, max_tokens=1)


def test_switches(model: nearlight.LanguageModel) -> None:
    with pytest.raises(RequestError, match=r"^raw: expected True or False, found 'no'"):
        model.generate("x", raw="no")  # type: ignore[arg-type]
    for ask in (model.conversation, partial(model.generate, "x")):
        with pytest.raises(RequestError, match=r"^think: expected True, False, low, medium, high or max, found 'no'"):
            ask(think="no")
    with pytest.raises(RequestError, match=r"^the chat template knows no levels of thinking"):
        model.generate("x", think="high")


def test_a_model_names_itself(model: nearlight.LanguageModel) -> None:
    assert repr(model) == "<nearlight model Tiny-Chat: qwen3, context 320>"


def test_ids_may_come_from_numpy(model: nearlight.LanguageModel) -> None:
    options: dict[str, Any] = {"max_tokens": 3, "temperature": 0}
    from_numpy: Any = np.array([5, 6, 7])
    assert model.generate(from_numpy, **options).token_ids == model.generate([5, 6, 7], **options).token_ids
    with pytest.raises(RequestError, match="part 0 of the prompt: expected a token id"):
        model.logits(np.zeros((2, 3), np.int64))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [3, b"x", ["x"]])
def test_what_is_said(model: nearlight.LanguageModel, wrong: Any) -> None:
    with pytest.raises(RequestError, match=r"^what is said: expected a text, found "):
        model.conversation().say(wrong)
    with pytest.raises(RequestError, match=r"^system: expected a text, found "):
        model.conversation(wrong)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"source": 3}, "source: expected a directory, a .gguf file"),
        ({"weights": 4}, "weights: expected a name, found 4"),
        ({"weights": "w5"}, "weights: expected one of bf16, w8, w6, w4, found 'w5'"),
        ({"kv": ["f16"]}, "kv: expected a name"),
        ({"backend": 1}, "backend: expected a name"),
        ({"context": "8k"}, "context: expected a whole number of at least 1, found '8k'"),
        ({"context": 0}, "context: expected a whole number of at least 1, found 0"),
        ({"threads": "2"}, "threads: expected a whole number of at least 1, found '2'"),
        ({"cache": "no"}, "cache: expected True or False, found 'no'"),
    ],
)
def test_loading(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RequestError, match=f"^{complaint}"):
        nearlight.load(**({"source": "pico"} | options))


def test_names_load_as_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert nearlight.load("pico").package.name == "pico"
    repository = tmp_path / "models--Qwen--Qwen3-0.6B"
    write_chat_model(repository / "snapshots" / "aa")
    for name in ("Qwen/Qwen3-0.6B", "qwen3-0.6b"):
        assert nearlight.load(name).generate("x", max_tokens=2).token_ids
    with pytest.raises(RequestError, match="qwen3-8b: Qwen/Qwen3-8B is not on this machine; `nearlight pull Qwen/Qw"):
        nearlight.load("qwen3-8b")


def test_others_names_of_formats_come_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="weights int8 are w8 here") as caught:
        model = nearlight.load("pico", weights="int8")
    assert caught[0].filename == __file__
    assert model.counted.weight_bytes == nearlight.load("pico", weights="w8").counted.weight_bytes
