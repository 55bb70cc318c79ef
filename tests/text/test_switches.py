"""Each family's templates are told whether to think in the way they can be told."""

from __future__ import annotations

from typing import Any

import pytest

from nearlight.errors import RequestError, TextError
from nearlight.text.template import ChatTemplate

USER = {"role": "user", "content": "Why?"}
PROMPT = "{{ messages[-1].content }} assistant: "

TEMPLATES = {
    "qwen3": PROMPT + "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}",
    "deepseek": "{% if not thinking is defined %}{% set thinking = false %}{% endif %}" + PROMPT + "{{ thinking }}",
    "granite": PROMPT + "{% if thinking %}Write your thoughts{% endif %}",
    "cohere": "{% set reasoning = reasoning if reasoning is not undefined else true %}" + PROMPT + "{{ reasoning }}",
    "minimax": PROMPT + "{{ thinking_mode | default('adaptive') }}",
    "seed": "{% if not thinking_budget is defined %}{% set thinking_budget = -1 %}{% endif %}{{ thinking_budget }}",
    "gpt-oss": "{% if reasoning_effort is not defined %}{% set reasoning_effort = 'medium' %}{% endif %}"
    "Reasoning: {{ reasoning_effort }}",
    "hunyuan": "{% if not reasoning_effort is defined %}{% set reasoning_effort = 'no_think' %}"
    "{% elif reasoning_effort not in ['high', 'low', 'no_think'] %}{{ raise_exception('effort') }}{% endif %}"
    "{{ reasoning_effort }}",
    "kimi": "{% if thinking is undefined %}{% set thinking = true %}{% endif %}{{ thinking }} {{ thinking_effort }}",
    "nemotron": "{% set ns = namespace(enable_thinking=true) %}{% for m in messages %}"
    "{% if '/think' in m.content %}{% set ns.enable_thinking = true %}"
    "{% elif '/no_think' in m.content %}{% set ns.enable_thinking = false %}{% endif %}"
    "{{ m.role }}:{{ m.content.replace('/think', '').replace('/no_think', '').strip() }} {% endfor %}"
    "{{ ns.enable_thinking }}",
    "none": PROMPT + "{{ messages[0].thinking }}",
}


def rendered(name: str, think: Any, messages: Any = (USER,)) -> str:
    return ChatTemplate(TEMPLATES[name]).render(messages, think=think)


@pytest.mark.parametrize(
    ("name", "on", "off", "otherwise"),
    [
        ("qwen3", "Why? assistant: ", "Why? assistant: <think></think>", "Why? assistant: "),
        ("deepseek", "Why? assistant: True", "Why? assistant: False", "Why? assistant: False"),
        ("granite", "Why? assistant: Write your thoughts", "Why? assistant: ", "Why? assistant: "),
        ("cohere", "Why? assistant: True", "Why? assistant: False", "Why? assistant: True"),
        ("minimax", "Why? assistant: enabled", "Why? assistant: disabled", "Why? assistant: adaptive"),
        ("seed", "-1", "0", "-1"),
        ("gpt-oss", "Reasoning: medium", "Reasoning: low", "Reasoning: medium"),
        ("hunyuan", "high", "no_think", "no_think"),
        ("kimi", "True ", "False ", "True "),
        ("nemotron", "system: user:Why? True", "system: user:Why? False", "user:Why? True"),
        ("none", "Why? assistant: ", "Why? assistant: ", "Why? assistant: "),
    ],
)
def test_thinking_is_switched_as_the_template_knows_it(name: str, on: str, off: str, otherwise: str) -> None:
    assert rendered(name, True) == on
    assert rendered(name, False) == off
    assert rendered(name, None) == otherwise


def test_a_command_joins_the_instructions() -> None:
    messages = [{"role": "system", "content": "Be brief."}, USER]
    assert rendered("nemotron", False, messages) == "system:Be brief. user:Why? False"
    assert messages[0]["content"] == "Be brief."


@pytest.mark.parametrize(
    ("name", "shown"), [("gpt-oss", "Reasoning: high"), ("hunyuan", "high"), ("kimi", "True high")]
)
def test_levels_are_told_where_the_template_knows_them(name: str, shown: str) -> None:
    assert rendered(name, "high") == shown


@pytest.mark.parametrize("name", ["qwen3", "nemotron", "none"])
def test_a_level_nobody_knows_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="the chat template knows no levels of thinking; switch it on or off"):
        rendered(name, "high")
    with pytest.raises(TextError, match="refuses"):
        rendered("hunyuan", "medium")


def test_what_the_caller_names_goes_first() -> None:
    assert ChatTemplate(TEMPLATES["minimax"]).render([USER], think=False, thinking_mode="adaptive").endswith("adaptive")


def test_the_variables_of_a_template_are_what_it_reads() -> None:
    assert ChatTemplate(TEMPLATES["deepseek"]).variables == {"thinking", "messages"}
    with pytest.raises(TextError, match="line 1"):
        _ = ChatTemplate("{% if %}").variables
    with pytest.raises(TextError, match="nested too deeply"):
        _ = ChatTemplate("{{ " + "(" * 20_000 + "x" + ")" * 20_000 + " }}").variables
