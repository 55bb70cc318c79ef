"""Answers on the screen: what is shown is what the model said, at any width and however it came in pieces."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nearlight.terminal import live, tty
from nearlight.terminal.live import PlainLayout, WrappedView
from nearlight.terminal.markdown.blocks import BlockSplitter, CodeLine, Fence, Table, TextLine
from nearlight.terminal.markdown.code import CodeHighlighter
from nearlight.terminal.markdown.inline import styled_line, styled_words
from nearlight.terminal.markdown.layout import MarkdownLayout
from tests.effort import calls
from tests.terminal.awkward import Answer, read_answers, read_back
from tests.terminal.screen import Screen

ANSWERS = read_answers()
SIZES = [(40, 24), (80, 6), (120, 30)]


@pytest.fixture(autouse=True)
def _draws_every_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "REDRAW_S", 0.0)


def shown(pieces: Sequence[str], size: tuple[int, int], *, plain: bool = False) -> list[str]:
    """Return the lines of a screen of some columns and rows after an answer in pieces."""
    screen = Screen(*size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tty, "width", lambda: size[0])
        patch.setattr(tty, "height", lambda: size[1])
        view = WrappedView(screen, PlainLayout() if plain else MarkdownLayout())  # type: ignore[arg-type]
        for piece in pieces:
            view.push(piece)
        view.finish()
    return screen.lines


def cut(text: str, random_: random.Random, longest: int = 7) -> list[str]:
    pieces = []
    while text:
        length = random_.randint(1, longest)
        pieces.append(text[:length])
        text = text[length:]
    return pieces


# -- nothing is lost ---------------------------------------------------------------------------------------------------


def test_there_are_two_hundred_awkward_answers() -> None:
    assert len({answer.said for answer in ANSWERS}) == len(ANSWERS) >= 200


@pytest.mark.parametrize("size", SIZES, ids=["40", "80", "120"])
@pytest.mark.parametrize("answer", ANSWERS, ids=[answer.name for answer in ANSWERS])
def test_the_screen_has_what_the_model_said(answer: Answer, size: tuple[int, int]) -> None:
    at_once = shown([answer.said], size)
    read_back(answer, at_once, size[0])
    assert shown(cut(answer.said, random.Random(answer.name)), size) == at_once


_FRAGMENTS = (
    "**", "*", "`", "```", "```py", "~~~", "_", "\\", "\n", "\n\n", "|", "| a | b |\n", "|---|:-:|\n", "- ", "1. ",
    "> ", "# ", " ", "  ", "\t", "word", "a_b", "longer words", "日本語", "é", "👩\u200d👩\u200d👧", "\x1b[31m", "\r\n",
    "(", ")", '"', "/", "https://example.org/a-long/path/that/is/longer/than/forty/columns", "x" * 90,
)  # fmt: skip
_texts = st.lists(st.sampled_from(_FRAGMENTS), max_size=40).map("".join)


@settings(max_examples=150, deadline=None)
@given(_texts, st.randoms(use_true_random=False), st.sampled_from([(40, 24), (41, 4), (100, 7)]), st.booleans())
def test_streamed_equals_at_once(text: str, random_: random.Random, size: tuple[int, int], plain: bool) -> None:
    assert shown(cut(text, random_, 12), size, plain=plain) == shown([text], size, plain=plain)


@settings(max_examples=150, deadline=None)
@example("```" + "x" * 90 + "*" * 10 + "\tlonger words", (40, 24))
@given(_texts.filter(lambda text: "|" not in text), st.sampled_from([(40, 24), (77, 9)]))
def test_only_pairs_of_stars_are_ever_missing(text: str, size: tuple[int, int]) -> None:
    said = re.sub(r"\s", "", text.replace("\x1b", "␛"))
    on_screen = re.sub(r"\s", "", "".join(shown([text], size)))
    assert on_screen.replace("**", "") == said.replace("**", "")
    assert (said.count("*") - on_screen.count("*")) % 4 == 0


def test_plain_text_keeps_every_character() -> None:
    text = "Think **hard** about `it`:\n\n| no | table |\n|---|---|\n\n  and a line that has to be broken somewhere"
    lines = shown([text], (40, 24), plain=True)
    assert lines[:4] == ["Think **hard** about `it`:", "", "| no | table |", "|---|---|"]
    assert lines[4:] == ["", "  and a line that has to be broken", "somewhere", ""]


# -- marks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a **b c** d", ["b c"]),
        ("**Note:** x", ["Note:"]),
        ("(**b**), **C++**, **50%**.", ["b", "C++", "50%"]),
        ("これは**重要**です", ["重要"]),
        ("**a** and **b**", ["a", "b"]),
        ("**`code`** and **f(x)**", ["`code`", "f(x)"]),
        ("**a *b* c**", ["a ", "*b*", " c"]),
        ("un**believ**able x**y** 2**3**4", []),
        ("** a ** b **", []),
        ("f(**a, **b) and **c**", []),
        ('"**a**" and \'**\' and "**"', []),
        ("{**/*.py,**/*.js} **/x/**", []),
        (r"\**a\** and \**b**", []),
        ("***a*** ****b****", []),
        ("__a__ _b_ ~~c~~ <b>d</b>", []),
        ("`**a**` ``**b`**``", []),
        ("`open **a**", []),
        ("**(a** b) **c**", []),
    ],
)
def test_what_is_bold(text: str, words: list[str]) -> None:
    spans = styled_words(text)
    assert [part for part, style in spans if "1" in style.split(";")] == words
    if not words:
        assert "".join(part for part, _ in spans) == text


def test_other_marks_are_styled_and_stay() -> None:
    assert styled_line("## A **b**") == [("## A ", "1"), ("b", "1")]
    assert styled_line("> *quoted*") == [("> ", "2"), ("*quoted*", "3")]
    assert styled_line("* * *") == [("* * *", "2")]
    assert styled_line("# `x`") == [("# ", "1"), ("`x`", "1;36")]
    assert styled_line("#!/bin/sh") == [("#!/bin/sh", "")]


# -- blocks ------------------------------------------------------------------------------------------------------------


def test_blocks_are_lines_but_for_tables() -> None:
    splitter = BlockSplitter()
    assert splitter.push("a\nb\n\nc") == [TextLine("a"), TextLine("b"), TextLine("")]
    assert splitter.tail == [TextLine("c")]
    assert splitter.push("\n  ```py {x}\n |x\n``") == [TextLine("c"), Fence("  ```py {x}", "py"), CodeLine(" |x")]
    assert splitter.push("`\n|a|`b|c`|\n") == [Fence("```", None)]
    assert splitter.tail == [TextLine("|a|`b|c`|")]
    assert splitter.push("|-|:-:|\n|x\n") == []
    table = Table("", ("a", "`b|c`"), ("-", ":-:"), (("x",),))
    assert splitter.tail == [table]
    assert splitter.push("after\n> ```\n> **x**\nout") == [
        table,
        TextLine("after"),
        Fence("> ```", ""),
        CodeLine("> **x**"),
    ]
    assert splitter.finish() == [TextLine("out")]


def test_what_is_finished_is_not_laid_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    styled = styled_line

    def counted(line: str, open_code: str) -> list[tuple[str, str]]:
        sizes.append(len(line))
        return styled(line, open_code)

    monkeypatch.setattr("nearlight.terminal.markdown.layout.styled_line", counted)
    shown(["a line of text\n", "- item\n"] * 40, (40, 10))
    assert len(sizes) <= 2 * 80


# -- code --------------------------------------------------------------------------------------------------------------


def test_code_is_highlighted_as_if_whole() -> None:
    highlighter = CodeHighlighter("python")
    lines = ["x = '''", "def no", "'''", "def yes(): pass"]
    styles = [highlighter.line(line)[0][1] for line in lines]
    assert styles[1] == "33"  # still the string
    assert styles[3] == "94"  # a keyword again
    assert CodeHighlighter("no-such-language").line("a\tb") == [("a\tb", "")]


def test_a_line_of_long_code_costs_as_much_as_one_of_short() -> None:
    def highlight(n_lines: int) -> None:
        highlighter = CodeHighlighter("python")
        for number in range(n_lines):
            highlighter.line(f"def f{number}(x):" if number % 3 == 0 else "    return x + 'text'")
        assert len(highlighter._context) <= 3

    highlight(9)
    assert calls(lambda: highlight(900)) < 11 * calls(lambda: highlight(90))
