"""What a person who writes `import nearlight` sees: names, help, types."""

from __future__ import annotations

import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import nearlight
from nearlight.engine.options import AnswerOptions

CALLER = """
from collections.abc import Iterator

import nearlight
from nearlight import LanguageModel, NearlightError


def ask(model: LanguageModel, question: str) -> str:
    answer = model.generate(question, max_tokens=20, stop=["\\n"], temperature=0.5, seed=7, raw=True)
    speed: float | None = answer.timing.decode_tok_s
    return answer.text if speed is None else f"{answer.text} ({speed:.0f} tok/s)"


def pieces(model: LanguageModel) -> Iterator[str]:
    messages = [{"role": "user", "content": "Count to five."}]
    stream = model.stream(messages, top_k=5, logit_bias={3: -1.0}, on_prefill=lambda done, total: None)
    for piece in stream:
        yield piece.text
    ids: list[int] = stream.completion.token_ids
    model.stream(ids, think=False)


def main() -> None:
    try:
        model = nearlight.load("pico", weights="w8", kv="f16", threads=1, context=512)
    except NearlightError as error:
        raise SystemExit(str(error)) from None
    print(ask(model, "def f(n):"), *pieces(model))
    chat = model.conversation("Be brief.")
    stream: nearlight.Stream = chat.say("Hello!", max_tokens=5)
    print(stream.finish().text, model.limits().tokens_per_s(100), model.logits([1, 2, 3]).shape)
"""
WRONG = """
import nearlight

model = nearlight.load(3)
model.generate("x", max_tokens="5")
model.generate("x", temprature=0.5)
model.stream(None)
model.conversation().say("x", stop=1)
reveal_type(model.generate("x"))
reveal_type(model.stream("x"))
"""


def test_every_public_name_is_there_and_listed() -> None:
    assert set(nearlight.__all__) <= set(dir(nearlight))
    assert all(getattr(nearlight, name).__name__ == name for name in nearlight.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nearlight.nothing


def test_help_shows_options_and_types() -> None:
    page = pydoc.render_doc(nearlight, renderer=pydoc.plaintext)
    assert "load(source: 'str | os.PathLike[str]', weights: 'str | None' = None, kv: 'str | None' = None" in page
    for name in ("generate(self, prompt: 'Prompt'", "stream(self, prompt: 'Prompt'", "say(self, text: 'str'"):
        line = next(line for line in page.splitlines() if name in line)
        assert "temperature: 'float | None' = None" in line
        assert "stop: 'str | Sequence[str] | None' = None" in line
    assert "**options" not in page


def test_signatures_have_every_option() -> None:
    for method in (
        nearlight.LanguageModel.generate,
        nearlight.LanguageModel.stream,
        nearlight.LanguageModel.stream_rendered,
        nearlight.Chat.say,
    ):
        parameters = inspect.signature(method).parameters
        assert AnswerOptions.__annotations__.keys() < parameters.keys()
        assert not any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def test_callers_see_types(tmp_path: Path) -> None:
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "wrong.py").write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(tmp_path)]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout.splitlines()
    assert found
    assert [line for line in found if line.startswith("caller.py")] == []
    for line, complaint in (
        (4, 'Argument 1 to "load" has incompatible type "int"'),
        (5, 'Argument "max_tokens" to "generate" of "LanguageModel" has incompatible type "str"'),
        (6, 'Unexpected keyword argument "temprature" for "generate"'),
        (7, 'Argument 1 to "stream" of "LanguageModel" has incompatible type "None"'),
        (8, 'Argument "stop" to "say" of "Chat" has incompatible type "int"'),
        (9, 'Revealed type is "nearlight.engine.completion.Completion"'),
        (10, 'Revealed type is "nearlight.engine.stream.Stream"'),
    ):
        assert any(each.startswith(f"wrong.py:{line}: ") and complaint in each for each in found), found
