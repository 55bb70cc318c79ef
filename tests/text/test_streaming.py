"""Streams: whole characters, the same text as decoding at once, stop strings, and thinking kept apart."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from corpus import NASTY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearlight.package.package import TokenizerFiles
from nearlight.text.answer import AnswerStream
from nearlight.text.stops import StopStrings, held_back
from nearlight.text.streaming import Detokenizer, Piece, text_of
from nearlight.text.thinking import Markers, ThinkingSplitter, find_markers
from nearlight.text.tokenizer import Tokenizer, build_tokenizer

LAYOUTS = {"qwen2_directory": "vocab+merges", "llama_directory": "sentencepiece", "byte_level_json": "tokenizer.json"}


@pytest.fixture(scope="module", params=sorted(LAYOUTS))
def tokenizer(request) -> Tokenizer:
    directory = request.getfixturevalue(request.param)
    config = json.loads((directory / "tokenizer_config.json").read_text())
    built = build_tokenizer(TokenizerFiles(LAYOUTS[request.param], directory, config))
    assert built is not None
    return built


def streamed(stage, ids) -> list[Piece]:
    return [piece for id in ids for piece in stage.push(id)] + stage.finish()


@pytest.mark.parametrize("text", NASTY)
def test_pieces_join_to_the_decoded_text(tokenizer, text):
    ids = tokenizer.encode(text)
    pieces = streamed(Detokenizer(tokenizer), ids)
    assert text_of(pieces) == tokenizer.decode(ids)
    assert text_of(streamed(Detokenizer(tokenizer, continues=True), ids)) == tokenizer.decode(ids, continues=True)
    assert all(piece.text for piece in pieces)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_ids_stream_as_they_decode(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.n_tokens - 1), max_size=40))
    pieces = streamed(Detokenizer(tokenizer), ids)
    assert text_of(pieces) == tokenizer.decode(ids)


def test_half_characters_wait_and_broken_ones_are_replaced(tokenizer):
    ids = tokenizer.encode_continuation("\U0001f9ff")
    assert len(ids) > 2  # not in the vocabulary as a whole, so bytes
    stream = Detokenizer(tokenizer, continues=True)
    assert [text_of(stream.push(id)) for id in ids] == [""] * (len(ids) - 1) + ["\U0001f9ff"]
    assert stream.finish() == []
    stream = Detokenizer(tokenizer, continues=True)
    assert [piece for id in ids[:-1] for piece in stream.push(id)] == []
    assert stream.finish() == [Piece("\ufffd")]


def through(stage, text: str, cuts: list[int]) -> list[Piece]:
    ends = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    parts = [text[start:end] for start, end in pairwise(ends)]
    return [piece for part in parts for piece in stage.push(Piece(part))] + stage.finish()


def test_only_what_may_become_a_stop_string_is_held_back():
    assert held_back("abc", ["bcd", "c!"]) == 2
    assert held_back("abc", ["xyz"]) == 0
    assert held_back("aab", ["aabaab"]) == 3
    stage = StopStrings(["###", "User:"])
    assert stage.push(Piece("hello #")) == [Piece("hello ")]
    assert stage.push(Piece("1 Us")) == [Piece("#1 ")]
    assert stage.push(Piece("er: no")) == []
    assert stage.stopped == "User:"
    assert stage.push(Piece("more")) == []
    assert stage.finish() == []


def test_the_first_stop_string_wins_however_the_text_is_cut():
    stage = StopStrings(["b", "ab", ""])
    assert stage.push(Piece("xxabyy")) == [Piece("xx")]
    assert stage.stopped == "ab"
    stage = StopStrings(["abc", "a"])
    assert (stage.push(Piece("xxabc")), stage.stopped) == ([Piece("xx")], "a")


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(alphabet="ab#", max_size=30),
    stops=st.lists(st.text(alphabet="ab#", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 30), max_size=8),
)
def test_stopping_is_finding_the_first_stop_that_completes(text, stops, cuts):
    stage = StopStrings(stops)
    shown = text_of(through(stage, text, cuts))
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    if not ends:
        assert (shown, stage.stopped) == (text, None)
    else:
        assert stage.stopped is not None
        assert shown + stage.stopped == text[: min(ends)]


def test_thinking_is_not_searched_for_stop_strings():
    stage = StopStrings(["END"])
    assert stage.push(Piece("END", "thinking")) == [Piece("END", "thinking")]
    assert stage.push(Piece("E")) == []
    assert stage.push(Piece("x", "thinking")) == [Piece("E"), Piece("x", "thinking")]
    assert stage.stopped is None


@settings(max_examples=200, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=30))
@pytest.mark.parametrize(
    ("text", "opened", "thinking", "answer"),
    [
        ("<think>\nHm, 1 < 2.\n</think>\n\nYes.\n", False, "Hm, 1 < 2.", "Yes.\n"),
        ("\n<think>Hm</think>Yes", False, "Hm", "Yes"),
        ("\nHm.\n\nStill.\n</think>\n\nYes", True, "Hm.\n\nStill.", "Yes"),
        ("<think>\n\n</think>\n\nYes", False, "", "Yes"),
        ("Yes: <think>is a tag</think>", False, "", "Yes: <think>is a tag</think>"),
        ("<thin", False, "", "<thin"),
        ("  plain", False, "", "  plain"),
        ("<think>endless</thi", False, "endless</thi", ""),
        ("", True, "", ""),
    ],
)
def test_thinking_is_separated_however_the_text_is_cut(text, opened, thinking, answer, cuts):
    pieces = through(ThinkingSplitter(Markers(), opened=opened), text, cuts)
    assert text_of(pieces, "thinking") == thinking
    assert text_of(pieces) == answer


def test_markers_are_found_in_the_template_or_the_vocabulary(tokenizer):
    assert find_markers("{{ x }}<think>{{ '</think>' }}") == Markers()
    assert find_markers("[THINK]a[/THINK]") == Markers("[THINK]", "[/THINK]", after="")
    in_vocabulary = tokenizer.id_of("</think>") is not None
    assert find_markers("", tokenizer) == (Markers() if in_vocabulary else None)
    assert Markers().opened_by("<|im_start|>assistant\n<think>\n")
    assert not Markers().opened_by("<think>\n\n</think>\n\n")


def test_an_answer_stream_counts_thinking_and_stops(tokenizer):
    stream = AnswerStream(tokenizer, stops=["STOP"], markers=Markers(), continues=True)
    shown = []
    for id in tokenizer.encode_continuation("<think>\none two\n</think>\n\nan answer STOP more"):
        shown += stream.push(id)
        if stream.stopped:
            break
    shown += stream.finish()
    assert text_of(shown, "thinking") == "one two"
    assert text_of(shown) == "an answer "
    assert stream.stopped == "STOP"
    assert not stream.thinking
    assert 2 <= stream.thinking_tokens <= 20


def test_thinking_tokens_are_those_between_the_markers(qwen2_directory):
    config = json.loads((qwen2_directory / "tokenizer_config.json").read_text())
    built = build_tokenizer(TokenizerFiles("vocab+merges", qwen2_directory, config))
    between = built.encode("\none two\n")
    stream = AnswerStream(built, markers=Markers())
    streamed(stream, [built.id_of("<think>"), *between, built.id_of("</think>"), *built.encode("three")])
    assert stream.thinking_tokens == len(between)


def test_forcing_the_closing_ids_ends_the_thinking(tokenizer):
    stream = AnswerStream(tokenizer, markers=Markers(), opened=True, continues=True)
    ids = tokenizer.encode_continuation("on and on")
    for id in ids:
        stream.push(id)
    assert stream.thinking
    assert stream.thinking_tokens == len(ids)
    for id in stream.closing_ids():
        stream.push(id)
    assert not stream.thinking
    plain = AnswerStream(tokenizer, continues=True)
    assert text_of(streamed(plain, ids)) == "on and on"
    assert plain.closing_ids() == []


def test_special_tokens_stay_hidden_but_markers_show(qwen2_directory):
    config = json.loads((qwen2_directory / "tokenizer_config.json").read_text())
    flags = config["added_tokens_decoder"]
    for token in flags.values():
        token["special"] = True
    built = build_tokenizer(TokenizerFiles("vocab+merges", qwen2_directory, config))
    ids = built.encode("<think>a</think>b<|im_end|>")
    assert text_of(streamed(Detokenizer(built), ids)) == "ab"
    pieces = streamed(AnswerStream(built, markers=Markers()), ids)
    assert (text_of(pieces, "thinking"), text_of(pieces)) == ("a", "b")
