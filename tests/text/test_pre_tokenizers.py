"""How each named pre-tokenizer cuts a text, and that it does so in linear time."""

from __future__ import annotations

import pytest
from tokenizers import NormalizedString, Regex
from tokenizers.pre_tokenizers import Sequence, Split

from nearlight.text.pre_tokenizers import BY_NAME


def cuts(name: str, text: str) -> list[str]:
    return [text[start:end] for _, (start, end) in BY_NAME[name].pipeline().pre_tokenize_str(text)]


TEXT = "It's 12345 Été,  ok!?\n\n HTMLParser 漢字かなa (1234b)"
# Written by hand from the patterns; | is where the text is cut.
CUTS = {
    "gpt-2": "It|'s| 12345| Été|,| | ok|!?|\n\n| HTMLParser| 漢字かなa| (|1234|b|)",
    "llama-bpe": "It|'s| |123|45| Été|,| | ok|!?\n\n| HTMLParser| 漢字かなa| (|123|4|b|)",
    "jais-2": "It|'s| |123|45| Été|,| | ok|!?\n\n| HTMLParser| 漢字かなa| (|123|4|b|)",
    "glm4": "It|'s| |123|45| Été|,| | ok|!?\n\n| HTMLParser| 漢字かなa| (|123|4|b|)",
    "minicpm5": "It|'s| |123|45| Été|,| | ok|!?\n\n| HTMLParser| 漢字かなa| (|123|4|b|)",
    "qwen2": "It|'s| |1|2|3|4|5| Été|,| | ok|!?\n\n| HTMLParser| 漢字かなa| (|1|2|3|4|b|)",
    "qwen35": "It|'s| |1|2|3|4|5| Été|,| | ok|!?\n\n| HTMLParser| 漢字かなa| (|1|2|3|4|b|)",
    "ufakzeka": "It|'s| |1|2|3|4|5| Été|,| | ok|!?\n\n| HTMLParser| 漢字かなa| (|1|2|3|4|b|)",
    "bailingmoe": "It|'s| |1|2|3|4|5| Été|,| | ok|!?\n\n| HTMLParser| 漢字かなa| (|1|2|3|4|b|)",
    "laguna": "It|'s| |1|2|3|4|5| Été|,| | ok|!?|\n\n| HTMLParser| 漢字かなa| (|1|2|3|4|b|)",
    "seed-coder": "It|'s| |1|2|3|4|5| Été|,| | ok|!?|\n\n| HTMLParser| 漢字かなa| (|1|2|3|4|b|)",
    "starcoder": "It|'s| |1|2|3|4|5| Été|,| | ok|!?|\n\n| HTMLParser| 漢字かなa| (|1|2|3|4|b|)",
    "exaone-moe": "It|'s| |1|2|3|4|5| Été|,| | ok|!?\n|\n| HTMLParser 漢字かなa| (|1|2|3|4|b|)",
    "falcon": "It|'|s| |123|45| Été|,| | ok|!?|\n\n| HTMLParser| 漢字かなa| |(|123|4|b|)",
    "default": "It|'|s| |123|45| Été|,| | ok|!?|\n\n| HTMLParser| 漢字かなa| |(|123|4|b|)",
    "chameleon": "It|'|s| |1|2|3|4|5| Été|,|  |ok|!|?|\n|\n| HTMLParser| 漢字かなa| |(|1|2|3|4|b|)",
    "tekken": "It|'s| |1|2|3|4|5| Été|,| | ok|!?\n\n| HTMLParser| 漢字かなa| (|1|2|3|4|b|)",
    "gpt-4o": "It's| |123|45| Été|,| | ok|!?\n\n| HTMLParser| 漢字かなa| (|123|4|b|)",
    "tiny_aya": "It's| |12|345| Été|,| | ok|!?\n\n| HTMLParser| 漢字かなa| (|123|4|b|)",
    "kimi-k2": "It's| |123|45| Été|,| | ok|!?\n\n| HTMLParser| |漢字|かなa| (|123|4|b|)",
    "youtu": "It's| |1|2|3|4|5| Été|,| | ok|!?\n\n| HTMLParser| |漢字かな|a| (|1|2|3|4|b|)",
    "deepseek-v3": "It|'s| |123|45| Été|,| | ok|!?\n\n| HTMLParser| |漢字かな|a| (|123|4|b|)",
    "spark2_5": "It|'s| |1|2|3|4|5| Été|,| | ok|!?|\n|\n| HTMLParser| |漢字かな|a| (|1|2|3|4|b|)",
    "afmoe": "It|'s| |12|345| Été|,| | ok|!?\n\n| HTMLParser| |漢字かな|a| (|1|234|b|)",
    # Its third pattern has a range that holds ASCII's letters.
    "deepseek-llm": "It|'|s| |12345| É|t|é|,| | ok|!?|\n|\n| HTMLParser| |漢字かな|a| (|1234|b|)",
    "deepseek-coder": "It|'|s| |1|2|3|4|5| Été|,| | ok|!?|\n|\n| HTMLParser| |漢字かな|a| (|1|2|3|4|b|)",
    "bloom": "It's| 12345| Été|, | ok|!?\n\n| HTMLParser| 漢字かなa| (|1234b|)",
    "viking": "It's| |1|2|3|4|5| Été|, | ok|!?\n\n| HTMLParser| 漢字かなa| (|1|2|3|4|b|)",
    "superbpe": "It's |12|345| Été,  ok!?\n\n HTMLParser 漢字かなa (|1|234|b)",
    "gemma4": TEXT,
}


@pytest.mark.parametrize("name", sorted(CUTS))
def test_named_pre_tokenizers_cut_as_their_patterns_say(name: str) -> None:
    assert "|".join(cuts(name, TEXT)) == CUTS[name]


def test_every_pattern_is_among_those() -> None:
    assert {BY_NAME[name].patterns for name in CUTS} == {family.patterns for family in BY_NAME.values()}


# What tells those apart that cut the text above alike.
MORE_CUTS = {
    "jais-2": [(" " * 700 + "x", [" " * 512, " " * 128, " " * 32, " " * 16, " " * 8, "  ", " ", " x"])],
    "llama-bpe": [(" " * 700 + "x", [" " * 699, " x"])],
    "ufakzeka": [("I'll", ["I", "'ll"]), ("İ'DA'Re", ["İ", "'DA", "'Re"])],
    "qwen2": [("I'll", ["I", "'ll"]), ("İ'DA'Re", ["İ", "'D", "A", "'Re"])],
    "qwen35": [("e\u0301x!", ["e\u0301x", "!"])],
    "bailingmoe": [(" \n\n x", [" \n\n", " x"]), ("'", ["'"])],
    "tekken": [("camelCase/URLs/\n/x", ["camel", "Case", "/URLs", "/\n/", "x"])],
    "gpt-4o": [("camelCase don'T", ["camel", "Case", " don'T"])],
    "kimi-k2": [("camelCase漢don't/\n/", ["camel", "Case", "漢", "don't", "/\n", "/"])],
    "tiny_aya": [("1234567", ["1", "234", "567"]), ("1234abc 12", ["123", "4", "abc", " ", "12"])],
    "superbpe": [("1234567", ["1", "234", "567"]), ("123", ["123"]), ("12", ["12"])],
    "laguna": [("a \n\nb", ["a", " ", "\n\n", "b"])],
    "falcon": [("a `b`", ["a", " ", "`", "b", "`"])],
    "default": [("a `b`", ["a", " `", "b", "`"])],
    "chameleon": [("IMGIMGABZx", ["IMGIMGABZ", "x"]), ("<sentinel:12>", ["<", "sentinel", ":", "1", "2", ">"])],
    "deepseek-llm": [("x  漢", ["x", "  ", "漢"]), ("x   ", ["x", "   "]), ("ʔx", ["ʔ", "x"])],
}


@pytest.mark.parametrize("name", sorted(MORE_CUTS))
def test_what_tells_similar_pre_tokenizers_apart(name: str) -> None:
    for text, pieces in MORE_CUTS[name]:
        assert cuts(name, text) == pieces


LONG = 200_000
RUNS = {
    "digits": "1" * LONG + "a",
    "spaces": " " * LONG + "漢",
    "line ends": " \n" * (LONG // 2) + "x",
    "capitals": "A" * LONG + "!",
    "letters of no case": "漢" * (LONG // 2) + "A" * (LONG // 2) + "'",
    "marks": "\u0301" * LONG,
    "symbols": "'" * LONG + "x",
}


@pytest.mark.parametrize("pattern", sorted({cut for family in BY_NAME.values() for cut in family.patterns}))
def test_no_run_takes_quadratic_time(pattern: str) -> None:
    """A pattern that walks the rest of a run from each of its places would take longer than any test may."""
    for text in RUNS.values():
        left = NormalizedString(text).split(Regex(pattern), "removed")
        assert sum(len(part.original) for part in left) <= len(text)


def test_the_rewritten_patterns_cut_as_the_published_ones() -> None:
    published = Sequence(
        [Split(Regex(r"\d{1,3}(?=(?:\d{3})*\b)"), "isolated"), Split(Regex(r"\p{N}{1,3}"), "isolated")]
    )
    for text in ("1234567 x", "1 12 123 1234", "a12345", "12345a", "1234_ 99999."):
        expected = [text[start:end] for _, (start, end) in published.pre_tokenize_str(text)]
        assert [piece for piece in cuts("tiny_aya", text) if piece.isdigit()] == [p for p in expected if p.isdigit()]
