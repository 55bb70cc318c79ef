"""Rows no wider than a screen: how wide characters are, where lines break, how tables fold."""

from __future__ import annotations

import pytest

from nearlight.terminal import table as table_module
from nearlight.terminal.table import table
from nearlight.terminal.wrapping import at_edge, cut, display_width, expand_tabs, filled, folded, wrap
from tests.terminal.screen import Screen


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("plain", 5),
        ("日本", 4),
        ("e\u0301te\u0301", 3),
        ("🙂", 2),
        ("❤\ufe0f", 2),
        ("a\u200bb", 2),
        ("co\xadop", 5),
        ("ﾊﾝ", 2),
        ("각", 2),
        ("🇫🇷", 2),
    ],
)
def test_characters_take_cells(text: str, size: int) -> None:
    assert display_width(text) == size


def texts(rows: list[list[tuple[str, str]]]) -> list[str]:
    return ["".join(text for text, _ in row) for row in rows]


@pytest.mark.parametrize(
    ("text", "width", "hang", "rows"),
    [
        ("one two three", 8, 0, ["one two", "three"]),
        ("one two three", 7, 2, ["one two", "  three"]),
        ("  a  b   c", 6, 0, ["  a  b", "c"]),
        ("  a  b   c", 5, 0, ["  a", "b   c"]),
        ("ends in   ", 9, 0, ["ends in  "]),
        ("see https://example.org/x now", 10, 0, ["see", "https://example.org/x", "now"]),
        ("日本語です。はい", 10, 0, ["日本語で", "す。はい"]),
        ("日本「語」", 6, 0, ["日本", "「語」"]),
        ("10\xa0km is far", 6, 0, ["10\xa0km", "is far"]),
        ("", 5, 0, [""]),
        ("          word", 8, 2, ["", "  word"]),
    ],
)
def test_lines_break_between_words(text: str, width: int, hang: int, rows: list[str]) -> None:
    assert texts(wrap([(text, "")], width, hang)) == rows


def test_styles_stay_with_their_words() -> None:
    spans = [("one ", ""), ("two three", "1"), (" four", "")]
    assert wrap(spans, 9, 1) == [[("one ", ""), ("two", "1")], [(" ", ""), ("three", "1")], [(" ", ""), ("four", "")]]
    assert cut(spans, 2, 6) == [("e ", ""), ("tw", "1")]
    assert texts(at_edge([("abc日本", "")], 4)) == ["abc", "日本"]


def test_tabs_go_to_the_next_stop() -> None:
    assert expand_tabs("a\tb\t日\tc") == "a       b       日      c"


def test_sentences_are_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    sentence = "loading takes 12 seconds or 3 more"
    assert filled(sentence, Screen(20, 9)) == "loading takes\n12 seconds or 3 more"  # a number stays with its unit
    with open("/dev/null", "w") as pipe:
        assert filled(sentence, pipe) == sentence


def test_two_columns_fold_within_the_right_one() -> None:
    assert folded("  run   answer a prompt", 18) == "  run   answer a\n        prompt"
    assert folded("  nearlight run model.gguf   one answer", 30) == "  nearlight run model.gguf\n        one answer"
    assert folded("  run   answer", 18) == "  run   answer"


# -- tables ------------------------------------------------------------------------------------------------------------

HEADER = ("model", "size", "what it is good for")
ROWS = [("Qwen3-0.6B", "1.5 GB", "answers that are quick"), ("日本", "", "Japanese")]


def laid_out(columns: int, monkeypatch: pytest.MonkeyPatch, header: tuple[str, ...] = HEADER) -> list[str]:
    monkeypatch.setattr(table_module, "width", lambda: columns)
    monkeypatch.setenv("NO_COLOR", "1")
    return table(header, ROWS, right=(1,), stream=Screen(columns, 9)).split("\n")  # type: ignore[arg-type]


def test_a_table_that_fits_lines_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert laid_out(60, monkeypatch) == [
        "model         size  what it is good for",
        "Qwen3-0.6B  1.5 GB  answers that are quick",
        "日本                Japanese",
    ]


def test_a_narrow_table_breaks_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert laid_out(36, monkeypatch) == [
        "model         size  what it is good",
        "                    for",
        "Qwen3-0.6B  1.5 GB  answers that are",
        "                    quick",
        "日本                Japanese",
    ]


def test_a_very_narrow_table_becomes_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert laid_out(24, monkeypatch) == [
        "model: Qwen3-0.6B",
        "size: 1.5 GB",
        "what it is good for:",
        "  answers that are quick",
        "",
        "model: 日本",
        "what it is good for:",
        "  Japanese",
    ]
