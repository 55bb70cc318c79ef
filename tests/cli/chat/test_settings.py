"""/set: values, where they come from, and what a bad one is told."""

from __future__ import annotations

import pytest

from nearlight.cli.chat.settings import SETTINGS, Settings
from nearlight.errors import RequestError
from tests.cli.chats import said, scripted_chat
from tests.cli.scripted import ScriptedModel

Capture = pytest.CaptureFixture[str]
GENERATION = {"do_sample": True, "temperature": 0.6, "top_k": 20}


def rows(text: str) -> dict[str, list[str]]:
    return {name: rest for name, *rest in (line.split(maxsplit=2) for line in text.splitlines())}


def test_set_shows_every_setting_and_who_gave_it(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    chat = scripted_chat(capsys, [], top_p=0.9, stop=["\n"], seed=3)
    chat.model.package.__dict__["generation"] = GENERATION
    chat.type("/set min_p 0.05")
    shown = chat.type("/set")
    assert all(len(line) <= 40 for line in shown.splitlines())
    assert rows(shown) == {
        "temperature": ["0.6", "model's own"],
        "top_k": ["20", "model's own"],
        "top_p": ["0.9", "flag"],
        "min_p": ["0.05", "set here"],
        "repetition_penalty": ["1", "default"],
        "presence_penalty": ["0", "default"],
        "frequency_penalty": ["0", "default"],
        "seed": ["3", "flag"],
        "max_tokens": ["none", "default"],
        "stop": [r"'\n'", "flag"],
        "thinking_budget": ["none", "default"],
        "think": ["auto", "default"],
        "markdown": ["on", "default"],
        "trim": ["off", "default"],
    }
    assert set(rows(shown)) == set(SETTINGS)


def test_what_is_set_reaches_the_next_answer(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["a", "b", "c"], temperature=0.2, logit_bias={3: 1.0})
    for line in ("/set temperature 0.7", "/set max-tokens 2Ki", r'/set stop "\nUser: "', "/set thinking_budget 0"):
        chat.type(line)
    chat.type("/set markdown off")
    chat.type("Hello")
    assert chat.model.asked[-1][1] == {
        "temperature": 0.7,
        "logit_bias": {3: 1.0},
        "max_tokens": 2048,
        "stop": ["\nUser: "],
        "thinking_budget": 0,
    }
    assert chat.type("/set temperature default") == "temperature         0.2     flag\n"
    assert chat.type("/unset max_tokens") == "max_tokens          none    default\n"
    chat.type("Hello")
    assert chat.model.asked[-1][1].keys() == {"temperature", "logit_bias", "stop", "thinking_budget"}
    assert chat.model.asked[-1][1]["temperature"] == 0.2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("temperature hot", "temperature: expected a number of at least 0, found 'hot'"),
        ("temperature -1", "temperature: expected a number of at least 0, found -1.0"),
        ("temperature nan", "temperature: expected a number of at least 0, found nan"),
        ("temperature 1e999", "temperature: expected a number of at least 0, found inf"),
        ("top_k 2.5", "top_k: expected a whole number of at least 1, or 0 for all tokens, found '2.5'"),
        ("top_p 2", "top_p: expected a number from 0 to 1, found 2.0"),
        ("presence_penalty 9", "presence_penalty: expected a number from -2 to 2, found 9.0"),
        ("seed " + "9" * 9999, "seed: expected a whole number from 0 to 2^64 - 1, found '" + "9" * 40 + "'"),
        ("max_tokens 0", "max_tokens: expected a whole number of at least 1, found '0'"),
        (
            "thinking_budget x",
            "thinking_budget: expected a whole number, like 4096, 8k (8000) or 8Ki (8192), found 'x'",
        ),
        ('stop ""', "stop: expected a text, found nothing"),
        ("markdown maybe", "markdown: expected on or off, found 'maybe'"),
        ("temprature 1", "no setting is called 'temprature'; did you mean temperature?"),
        ("xyzzy 1", "no setting is called 'xyzzy'; /set lists them"),
    ],
)
def test_bad_values_are_told_what_is_allowed(capsys: Capture, line: str, told: str) -> None:
    chat = scripted_chat(capsys, [])
    before = chat.type("/set")
    assert chat.type(f"/set {line}") == told
    assert chat.type("/set") == before


def test_names_that_others_use(capsys: Capture) -> None:
    chat = scripted_chat(capsys, [])
    assert chat.type("/set temp 0.3") == "temperature         0.3     set here\n"
    assert chat.type("/set top-k 5").startswith("top_k               5 ")
    assert chat.type("/set repeat_penalty 1.1").startswith("repetition_penalty  1.1 ")
    assert chat.type("/set temperature").startswith("temperature         0.3")
    assert chat.type("/unset") == "no setting named: expected /unset NAME; /set lists them"


def test_a_setting_that_is_out_of_range_on_the_command_line_is_told(capsys: Capture) -> None:
    settings = Settings({"temperature": -1.0})
    with pytest.raises(RequestError, match="temperature: expected a number of at least 0"):
        settings.policy({})


def test_a_base_model_says_when_it_ends_by_default(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["b"], chats=False)
    assert chat.type("/set max_tokens") == "max_tokens          256     default\n"
    chat.type("a")
    assert chat.model.asked[-1][1] == {"max_tokens": 256}


def test_thinking_is_switched_where_the_template_can(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = scripted_chat(capsys, ["a", "b", "c"])
    chat.type("/think on")
    chat.type("One")
    chat.type("/think off")
    chat.type("Two")
    assert [prompt.endswith("Hm. ") for prompt, _ in chat.model.asked] == [True, False]
    assert chat.type("/think") == "think               off     set here\n"
    assert chat.type("/think perhaps") == "think: expected on, off, low, medium, high or max, found 'perhaps'"
    bound = "/set thinking_budget N bounds what it thinks"
    assert chat.type("/think high") == chat.type("/set think max") == f"Scripted-7B has no levels of thinking; {bound}"
    told = "Scripted-7B has no switch for thinking"
    plain = scripted_chat(capsys, [], chats=False)
    assert plain.type("/think on") == plain.type("/set think off") == told
    assert "think " not in plain.type("/set")
    monkeypatch.setattr(chat.state.dialogue, "can_think", lambda think: False)
    assert chat.type("/think on") == f"{told}; {bound}"


def test_markdown_is_switched(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(
        "nearlight.cli.chat.repl.AnswerView", lambda out, *, formatted: made.append(formatted) or _View()
    )
    chat = scripted_chat(capsys, ["**a**", "**b**"])
    chat.type("One")
    chat.type("/set markdown off")
    chat.type("Two")
    assert made == [True, False]


class _View:
    def push(self, text: str, channel: str) -> None: ...

    def finish(self) -> None: ...


def test_the_flag_trims(capsys: Capture) -> None:
    assert ScriptedModel([said("a")]).context == 512
    assert scripted_chat(capsys, [], trim=True).type("/set trim") == "trim                on      flag\n"
