"""Thinking and answer of each family's way to mark them, however a stream is cut."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from nearlight.package.package import TokenizerTables
from nearlight.package.special_tokens import true_ends
from nearlight.text.answer import AnswerStream
from nearlight.text.harmony import Harmony
from nearlight.text.reasoning import Reasoning
from nearlight.text.spelling import printable_bytes
from nearlight.text.streaming import Piece, text_of
from nearlight.text.thinking import find_markers
from nearlight.text.tokenizer import Tokenizer, build_tokenizer

# A bit of each template, enough to know the family by.
FAMILIES = {
    "qwen3": "{{ '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}",
    "magistral": "{{ '[THINK]' + block.thinking + '[/THINK]' }}",
    "granite": "between <think></think> and write your response between <response></response>",
    "gemma4": "{{ '<|channel>thought\n' + m.reasoning + '\n<channel|>' }}",
    "cohere": "{{ '<|START_THINKING|>' + m.thinking + '<|END_THINKING|>' }}",
    "seed": "{%- set think_begin_token = '<seed:think>' %}",
    "apriel": "{{ 'Here are my reasoning steps:\n' }}{{ '[BEGIN FINAL RESPONSE]' }}[END FINAL RESPONSE]",
    "gpt-oss": "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' }}",
}
ANALYSIS, COMMENTARY, FINAL = (f"<|channel|>{name}<|message|>" for name in ("analysis", "commentary", "final"))
NEXT = "<|end|><|start|>assistant"

# Family, what its model writes, whether the prompt opened the section, the thinking, the answer.
STREAMS = [
    ("qwen3", "<think>\nHm, 1 < 2.\n</think>\n\nYes: <think> is a tag.", False, "Hm, 1 < 2.", "Yes: <think> is a tag."),
    ("qwen3", "Hm.\n</think>\n\nYes.", True, "Hm.", "Yes."),
    ("qwen3", "\n<think></think>\nYes.", False, "", "Yes."),
    ("magistral", "[THINK]Hm [1].[/THINK]Yes [THINK].", False, "Hm [1].", "Yes [THINK]."),
    ("granite", "<think>Hm.</think>\n<response>Yes.</response>", False, "Hm.", "Yes."),
    ("granite", "<think>Hm.</think><response>a < b, </res> too</response>\n", False, "Hm.", "a < b, </res> too\n"),
    ("granite", "<think>Hm.</think>No <response> at all.", False, "Hm.", "No <response> at all."),
    ("granite", "<response> is a tag.", False, "", "<response> is a tag."),
    ("gemma4", "<|channel>thought\nHm.\n<channel|>Yes.", False, "Hm.", "Yes."),
    ("gemma4", "<|channel>thought\n<channel|>Yes.", False, "", "Yes."),
    ("gemma4", "<|channel>thought<channel|>Yes.", False, "", "Yes."),
    ("gemma4", "Well.<|channel>thought\nHm.\n<channel|>Yes.", False, "Hm.", "Well.Yes."),
    ("gemma4", "<channel|>Yes.", False, "", "Yes."),
    ("gemma4", "a <| b |> c <|ch", False, "", "a <| b |> c <|ch"),
    ("cohere", "<|START_THINKING|>Hm.<|END_THINKING|>Yes.", False, "Hm.", "Yes."),
    ("cohere", "Hm.<|END_THINKING|>Yes.", True, "Hm.", "Yes."),
    ("seed", "<seed:think>Hm.</seed:think>Yes.", False, "Hm.", "Yes."),
    ("apriel", "Hm.\n[BEGIN FINAL RESPONSE]\nYes.[END FINAL RESPONSE]", True, "Hm.", "Yes."),
    ("gpt-oss", f"{ANALYSIS}Hm.{NEXT}{FINAL}Yes.<|return|>", False, "Hm.", "Yes."),
    ("gpt-oss", f"{FINAL}a < b <| c", False, "", "a < b <| c"),
    ("gpt-oss", f"{ANALYSIS}Hm.{NEXT}{COMMENTARY}So:{NEXT}{FINAL}Yes.", False, "Hm.", "So:\n\nYes."),
    ("gpt-oss", f"{ANALYSIS}Hm.{NEXT}{ANALYSIS}Oh.{NEXT}{FINAL}Yes.", False, "Hm.\n\nOh.", "Yes."),
    ("gpt-oss", f"{ANALYSIS}Hm.{FINAL}Yes.", False, "Hm.", "Yes."),
    ("gpt-oss", f"Hm.{NEXT}{FINAL}Yes.", True, "Hm.", "Yes."),
    (
        "gpt-oss",
        f"{ANALYSIS}Hm.{NEXT} to=functions.f<|channel|>commentary <|constrain|>json<|message|>{{}}<|call|>",
        False,
        "Hm.",
        "{}",
    ),
    ("gpt-oss", f"{ANALYSIS}Hm.<|end|><|start|>assist", False, "Hm.", ""),
    ("gpt-oss", f"{ANALYSIS}Hm.{NEXT}<|channel|>fi", False, "Hm.", ""),
    ("gpt-oss", "Just text. <", False, "", "Just text. <"),
    ("gpt-oss", f"Hello {ANALYSIS}Hm.{NEXT}{FINAL}Yes.", False, "Hm.", "Hello \n\nYes."),
    ("gpt-oss", f"<|end|>{FINAL}<|end|><|end|>Yes.", False, "", "Yes."),
    ("gpt-oss", "", False, "", ""),
]


def reasoning_of(family: str) -> Reasoning:
    found = find_markers(FAMILIES[family])
    assert found is not None
    return found


def split(family: str, parts: list[str], opened: bool) -> tuple[str, str]:
    splitter = reasoning_of(family).splitter(opened=opened)
    pieces = [piece for part in parts for piece in splitter.push(Piece(part))] + splitter.finish()
    assert all(piece.text for piece in pieces)
    return text_of(pieces, "thinking"), text_of(pieces)


@pytest.mark.parametrize(("family", "text", "opened", "thinking", "answer"), STREAMS)
def test_thinking_and_answer_are_told_apart_at_any_cut(
    family: str, text: str, opened: bool, thinking: str, answer: str
) -> None:
    assert split(family, [text], opened) == (thinking, answer)
    assert split(family, list(text), opened) == (thinking, answer)
    for cut in range(1, len(text)):
        assert split(family, [text[:cut], text[cut:]], opened) == (thinking, answer)
    for width in (2, 3, 5, 7):
        parts = [text[start : start + width] for start in range(0, len(text), width)]
        assert split(family, parts, opened) == (thinking, answer)


@pytest.mark.parametrize(("family", "text", "opened", "thinking", "answer"), STREAMS)
def test_no_more_is_held_back_than_may_be_a_mark(
    family: str, text: str, opened: bool, thinking: str, answer: str
) -> None:
    """What was shown after some characters is the beginning of what is shown in the end."""
    splitter = reasoning_of(family).splitter(opened=opened)
    shown = {"thinking": "", "answer": ""}
    for character in text:
        for piece in splitter.push(Piece(character)):
            shown[piece.channel] += piece.text
        assert thinking.startswith(shown["thinking"])
        assert answer.startswith(shown["answer"])


SCRAPS = {
    "qwen3": ["<think>", "</think>", "<", "\n"],
    "granite": ["<think>", "</think>", "<response>", "</response>", "<", "\n"],
    "gemma4": ["<|channel>", "thought", "<|channel>thought", "<channel|>", "<|", "\n"],
    "apriel": ["Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]", "[", "\n"],
    "gpt-oss": [
        *["<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|return|>", "analysis", "final"],
        " to=f",
        "<",
    ],
}


@pytest.mark.parametrize("family", sorted(SCRAPS))
def test_senseless_streams_are_read_alike_at_any_cut(family: str) -> None:
    dice = random.Random(7)
    for _ in range(1500):
        text = "".join(dice.choices([*SCRAPS[family], "Hi", " "], k=dice.randrange(1, 9)))
        opened = dice.random() < 0.3
        assert split(family, list(text), opened) == split(family, [text], opened), text


@pytest.mark.parametrize(
    ("family", "prompt", "opened"),
    [
        ("qwen3", "<|im_start|>assistant\n<think>\n", True),
        ("qwen3", "<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("qwen3", "<|assistant|></think>", False),
        ("gemma4", "<|turn>model\n", False),
        ("gemma4", "<|turn>model\n<|channel>thought\n<channel|>", False),
        ("cohere", "<|CHATBOT_TOKEN|><|START_THINKING|>", True),
        ("cohere", "<|CHATBOT_TOKEN|><|START_THINKING|><|END_THINKING|>", False),
        ("apriel", "<|begin_assistant|>\nHere are my reasoning steps:\n", True),
        ("gpt-oss", "<|start|>assistant", False),
        ("gpt-oss", f"<|start|>assistant{ANALYSIS}", True),
    ],
)
def test_a_prompt_may_open_the_section(family: str, prompt: str, opened: bool) -> None:
    assert reasoning_of(family).opened_by(prompt) is opened


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_being_inside_ends_with_the_section(family: str) -> None:
    text = next(text for name, text, opened, thinking, _ in STREAMS if name == family and thinking)
    splitter = reasoning_of(family).splitter(opened=family == "apriel")
    inside = []
    for character in text:
        splitter.push(Piece(character))
        inside.append(splitter.inside)
    first, last = text.index("Hm"), len(text) - 1
    assert inside[first]
    assert not inside[last]
    changes = sum(before != after for before, after in pairwise(inside))
    assert changes == (1 if family == "apriel" else 2)


MARKS = {
    "qwen3": ["<think>", "</think>"],
    "magistral": ["[THINK]", "[/THINK]"],
    "gemma4": ["<|channel>", "<channel|>"],
    "gpt-oss": ["<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|return|>", "<|call|>"],
}


def tokenizer_of(family: str) -> Tokenizer:
    """A vocabulary of bytes, and of the family's marks as special tokens."""
    tokens = [*printable_bytes(), *MARKS[family]]
    types = [1] * 256 + [3] * len(MARKS[family])
    tokenizer = build_tokenizer(TokenizerTables("gpt2", tokens, [], types, [], {"pre": "gpt-4o"}))
    assert tokenizer is not None
    return tokenizer


@pytest.mark.parametrize("family", sorted(MARKS))
def test_special_marks_reach_the_splitter_and_nobody_else(family: str) -> None:
    tokenizer = tokenizer_of(family)
    for name, text, opened, thinking, answer in STREAMS:
        if name == family and not opened:
            stream = AnswerStream(tokenizer, markers=reasoning_of(family), continues=True)
            pieces = [piece for id in tokenizer.encode(text) for piece in stream.push(id)] + stream.finish()
            assert (text_of(pieces, "thinking"), text_of(pieces)) == (thinking, answer)


@pytest.mark.parametrize("family", sorted(MARKS))
@pytest.mark.parametrize("budget", [0, 1, 5])
def test_thinking_ends_where_its_budget_does(family: str, budget: int) -> None:
    tokenizer, reasoning = tokenizer_of(family), reasoning_of(family)
    begin = {"gpt-oss": ANALYSIS, "gemma4": "<|channel>thought\n"}.get(family, MARKS[family][0])
    stream = AnswerStream(tokenizer, markers=reasoning, continues=True)
    pieces: list[Piece] = []
    waiting = tokenizer.encode(begin + "on and on and on")
    while waiting and not (stream.thinking and stream.thinking_tokens >= budget):
        pieces += stream.push(waiting.pop(0))
    for id in [*stream.closing_ids(), *tokenizer.encode("Yes.")]:
        pieces += stream.push(id)
    pieces += stream.finish()
    assert not stream.thinking
    assert text_of(pieces) == "Yes."
    assert len(text_of(pieces, "thinking")) <= budget


def test_the_end_of_a_harmony_message_is_not_the_end_of_an_answer() -> None:
    tokenizer = tokenizer_of("gpt-oss")
    assert {tokenizer.token_text(id) for id in tokenizer.stop_ids} == {"<|return|>", "<|call|>"}


@pytest.mark.parametrize(
    ("texts", "ends"),
    [
        (["<|end|>", "<|endoftext|>"], {"<|end|>", "<|endoftext|>"}),  # Phi
        (["<|end|>", "<|return|>", "<|call|>"], {"<|return|>", "<|call|>"}),
        (["<|end|>", "<|return|>"], {"<|end|>", "<|return|>"}),
        (["<|end|>", "<|calls|>", "<|flush|>"], {"<|calls|>", "<|flush|>"}),
        (["</s>", "<turn|>", "<|tool_response>"], {"<turn|>", "<|tool_response>"}),
    ],
)
def test_what_ends_an_answer_depends_on_what_else_there_is(texts: list[str], ends: set[str]) -> None:
    assert {texts[id] for id in true_ends(dict(enumerate(texts)))} == ends


@pytest.mark.parametrize("mark", ["<|channel|>", "<|start|><|channel|>", "<|channel|>to=<|start|>", " to="])
def test_a_header_without_end_is_an_answer(mark: str) -> None:
    thinking, answer = split("gpt-oss", [mark, *["word "] * 500], opened=False)
    assert thinking == ""
    assert answer.endswith("word " * 500)
    assert "<|channel|>" not in answer


def test_harmony_is_known_by_its_channels() -> None:
    assert isinstance(reasoning_of("gpt-oss"), Harmony)
    assert not isinstance(reasoning_of("gemma4"), Harmony)
    assert find_markers("{{ '<|im_start|>' }}") is None
