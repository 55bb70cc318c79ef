"""/model: what goes on with another model, and that the one at hand stays until the other is there."""

from __future__ import annotations

import json
import weakref
from pathlib import Path

import pytest

import nearlight
from nearlight.cli.chat.settings import Settings
from nearlight.cli.chat.state import ChatState, Opener
from nearlight.cli.names import find_model
from nearlight.errors import RequestError
from nearlight.machine.memory import AvailableMemory
from tests.cli.chats import PROMPT, TypedChat
from tests.cli.packages import TEMPLATE, write_chat_model

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def refusing_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model whose template takes no instructions."""
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no instructions, please') }}{% endif %}"
    return write_chat_model(tmp_path_factory.mktemp("models") / "Tiny-Refuser", refusal + TEMPLATE)


class RealChat(TypedChat):
    """A typed chat with real models; `loads` are the names of those loaded, `fails` those that cannot be."""

    def __init__(self, path: Path, capsys: Capture, system: str | None = None) -> None:
        self.loads: list[str] = []
        self.fails: set[str] = set()
        settings = Settings({"max_tokens": 3, "temperature": 0.0})
        self.state = ChatState(Opener(find_model, self._load), path, str(path), settings, system)
        self._capsys = capsys

    def _load(self, path: Path, name: str) -> nearlight.LanguageModel:
        self.loads.append(path.name)
        if path.name in self.fails:
            raise RequestError("cannot be loaded", where=name)
        return nearlight.load(path, cache=False)

    @property
    def model_name(self) -> str:
        return self.state.model.package.name


@pytest.fixture
def chat(chat_model: Path, capsys: Capture) -> RealChat:
    chat = RealChat(chat_model, capsys, system="Be kind.")
    chat.type("Hello")
    return chat


def too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = AvailableMemory(1_000_000, 8_000_000_000, "this machine")
    monkeypatch.setattr("nearlight.machine.memory.available_memory", lambda: memory)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_model(tmp_path_factory.mktemp("models") / "Tiny-Other")


def test_the_chat_goes_on_with_another_model(chat: RealChat, other_model: Path) -> None:
    before = chat.contents
    told = chat.type(f"/model {other_model}")
    assert told.splitlines()[0].startswith("Tiny-Other  qwen3, 262 kB, context 320 tokens")
    assert told.splitlines()[-1] == "the chat goes on with its 1 turn"
    assert chat.contents == before
    assert "no answer yet" in chat.type("/stats")  # speeds are the model's
    assert "3 tokens" in chat.type("More")
    assert chat.contents[:3] == before
    told = chat.type("/model")
    assert told.splitlines()[-1] == str(other_model)


def test_a_path_is_remembered_in_full(chat: RealChat, other_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(other_model.parent)
    chat.type("/model ./Tiny-Other")
    chat.type("/save c.json")
    assert json.loads(Path("c.json").read_text())["source"] == str(other_model)


def test_an_error_leaves_the_model_in_place(chat: RealChat, other_model: Path, tmp_path: Path) -> None:
    before = chat.contents
    model = chat.state.model
    assert "no such model" in chat.type(f"/model {tmp_path}/nowhere")
    assert "no model package" in chat.type(f"/model {tmp_path}")
    chat.fails.add("Tiny-Other")
    assert chat.type(f"/model {other_model}") == f"{other_model}: cannot be loaded"
    assert chat.state.model is model
    assert chat.contents == before
    assert "3 tokens" in chat.type("More")


def test_the_old_model_is_let_go_after(chat: RealChat, other_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = weakref.ref(chat.state.model.engine)
    here = []
    load = chat._load
    chat.state.opener.__dict__["load"] = lambda path, name: here.append(old() is not None) or load(path, name)
    chat.type(f"/model {other_model}")
    assert here == [True]
    assert old() is None


def test_the_old_model_is_let_go_before_where_memory_is_short(
    chat: RealChat, other_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_little_memory(monkeypatch)
    old = weakref.ref(chat.state.model.engine)
    gone = []
    load = chat._load
    chat.state.opener.__dict__["load"] = lambda path, name: gone.append(old() is None) or load(path, name)
    before = chat.contents
    told = chat.type(f"/model {other_model}")
    assert told.startswith("too little memory for both models: Tiny-Chat is let go first\n")
    assert gone == [True]
    assert chat.model_name == "Tiny-Other"
    assert chat.contents == before


def test_a_model_let_go_in_vain_comes_back(chat: RealChat, other_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    too_little_memory(monkeypatch)
    chat.fails.add("Tiny-Other")
    before = chat.contents
    assert chat.type(f"/model {other_model}") == f"{other_model}: cannot be loaded"
    assert chat.loads == ["Tiny-Chat", "Tiny-Other", "Tiny-Chat"]
    assert chat.model_name == "Tiny-Chat"
    assert chat.contents == before
    assert "3 tokens" in chat.type("More")
    assert not chat.state.left


def test_a_model_of_the_other_kind_is_asked_about(chat: RealChat, base_model: Path) -> None:
    questions: list[str] = []
    chat.state.ask = lambda question: questions.append(question) or False  # type: ignore[func-returns-value]
    assert chat.type(f"/model {base_model}") == "Tiny-Chat stays\n"
    assert questions == ["Tiny-Base only completes text, so this cannot go on with it; leave it, unsaved?"]
    assert chat.loads == ["Tiny-Chat"]
    chat.state.ask = lambda question: True
    assert chat.type(f"/model {base_model}").startswith("Tiny-Base")
    assert chat.state.dialogue.saved() == {"text": ""}
    chat.type("/model " + str(base_model))  # nothing is lost, so nothing is asked
    assert chat.model_name == "Tiny-Base"


def test_a_template_that_refuses_the_chat_is_told_at_once(chat: RealChat, refusing_model: Path) -> None:
    told = " ".join(chat.type(f"/model {refusing_model}").split())
    assert "the chat goes on with its 1 turn, but: chat template: refuses these messages" in told
    assert "no instructions, please" in told


def test_a_chat_too_long_for_the_other_context_is_told_at_once(chat: RealChat, other_model: Path) -> None:
    chat.state.opener.__dict__["load"] = lambda path, name: nearlight.load(path, context=9, cache=False)
    told = " ".join(chat.type(f"/model {other_model}").split())
    assert "the chat's 1 turn take" in told
    assert "tokens, and the context holds 9: /trim drops the oldest turns" in told


def test_the_command_line_gives_the_first_model(
    environment: dict[str, str], chat_model: Path, other_model: Path
) -> None:
    import sys

    import pexpect

    from tests.cli.conftest import ROOT

    arguments = ["-m", "nearlight", "run", str(chat_model), "-n", "4", "--temperature", "0", "--offline"]
    terminal = pexpect.spawn(sys.executable, arguments, env=environment, cwd=str(ROOT), encoding="utf-8", timeout=None)
    terminal.expect_exact(PROMPT)
    terminal.send("/model org/name\r")
    terminal.expect_exact("org/name: not on this machine")
    terminal.send(f"/model {other_model}\r")
    terminal.expect_exact("Tiny-Other")
    terminal.expect_exact(PROMPT)
    terminal.send("hello\r")
    terminal.expect_exact("4 tokens")
    terminal.close(force=True)
