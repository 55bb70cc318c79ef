"""Tokenizers and templates are made while weights are read; what is wrong with them is told to who needs them."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import transformers

import nearlight
from nearlight.engine import prompts
from nearlight.errors import TextError
from tests.engine.test_chat import CHATML, write_tokenizer
from tests.models.random_models import SIZES, write_model


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    n_tokens = write_tokenizer(tmp_path, CHATML)
    write_model(tmp_path, transformers.Qwen3Config(**{**SIZES, "vocab_size": n_tokens}, head_dim=10))
    return tmp_path


def test_the_tokenizer_is_built_by_a_thread_and_only_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builders: list[str] = []
    build = prompts.build_tokenizer

    def noted(*args: object) -> object:
        builders.append(threading.current_thread().name)
        return build(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(prompts, "build_tokenizer", noted)
    model = nearlight.load(directory)
    assert model.render("Hi").text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert model.tokenizer.decode(model.render("Hi", raw=True).ids) == "Hi"
    assert builders == ["prompts"]


def test_a_broken_tokenizer_does_not_stop_ids(directory: Path) -> None:
    (directory / "tokenizer.json").write_text("{}")
    model = nearlight.load(directory)
    assert model.logits([1, 2, 3]).shape[0] == 3
    for _ in range(2):
        with pytest.raises(TextError, match=r"tokenizer\.json"):
            model.render("Hi", raw=True)


def test_a_broken_template_does_not_stop_text(directory: Path) -> None:
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": "{% if %}"}))
    model = nearlight.load(directory)
    assert model.chats
    assert model.render("Hi", raw=True).ids
    for _ in range(2):
        with pytest.raises(TextError, match="chat template: line 1"):
            model.render("Hi")


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_panic_in_the_thread_is_told_to_who_asks(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    def panics(*args: object) -> object:
        raise Panic("in Rust")

    monkeypatch.setattr(prompts, "build_tokenizer", panics)
    model = nearlight.load(directory)
    assert model.logits([1]).shape[0] == 1
    with pytest.raises(Panic):
        model.render("Hi", raw=True)
