"""GGUF's tokenizer tables against the pipelines transformers builds from the same vocabulary."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece
import vocabularies as v
from corpus import NASTY
from transformers import AutoTokenizer

from nearlight.errors import TextError, UnsupportedError
from nearlight.package.package import TokenizerTables
from nearlight.text import gguf_tables
from nearlight.text.spelling import byte_tokens
from nearlight.text.tokenizer import Tokenizer, build_tokenizer


def built(tables: TokenizerTables) -> Tokenizer:
    tokenizer = build_tokenizer(tables)
    assert tokenizer is not None
    return tokenizer


def byte_level_tables(directory: Path, pre: str) -> TokenizerTables:
    """The tables a converter would write for a vocab.json + merges.txt package."""
    vocab = json.loads((directory / "vocab.json").read_text(encoding="utf-8"))
    config = json.loads((directory / "tokenizer_config.json").read_text())
    added = config.get("added_tokens_decoder") or {str(len(vocab)): {"content": "<|endoftext|>", "special": True}}
    tokens = sorted(vocab, key=vocab.__getitem__) + [added[id]["content"] for id in sorted(added, key=int)]
    types = [1] * len(vocab) + [3 if added[id]["special"] else 4 for id in sorted(added, key=int)]
    merges = (directory / "merges.txt").read_text(encoding="utf-8").split("\n")[1:-1]
    return TokenizerTables("gpt2", tokens, [], types, merges, {"pre": pre, "eos_token_id": len(tokens) - 1})


def sentencepiece_tables(directory: Path) -> TokenizerTables:
    model = sentencepiece.SentencePieceProcessor(model_file=str(directory / "tokenizer.model"))
    n = model.get_piece_size()
    kinds = ((model.is_unknown, 2), (model.is_control, 3), (model.is_byte, 6))
    types = [next((kind for test, kind in kinds if test(id)), 1) for id in range(n)]
    pieces = [model.id_to_piece(id) for id in range(n)]
    types = [
        4 if piece in v.LLAMA_TRAINING["user_defined_symbols"] else kind
        for piece, kind in zip(pieces, types, strict=True)
    ]
    return TokenizerTables("llama", pieces, [model.get_score(id) for id in range(n)], types, [], {})


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize(("layout", "pre"), [("gpt2_directory", "gpt-2"), ("qwen2_directory", "qwen2")])
def test_byte_level_equals_transformers(request, layout, pre, text):
    directory = request.getfixturevalue(layout)
    theirs = AutoTokenizer.from_pretrained(directory)
    theirs._tokenizer.normalizer = None  # llama.cpp applies no NFC
    tokenizer = built(byte_level_tables(directory, pre))
    ids = tokenizer.encode(text)
    assert ids == theirs.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids, special=True) == text


def test_scored_pieces_equal_sentencepiece(llama_directory):
    tokenizer = built(sentencepiece_tables(llama_directory))
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(llama_directory / "tokenizer.model"))
    texts = [text for text in NASTY if text and "<" not in text and "\x00" not in text]
    for text in texts:
        assert tokenizer.encode(text) == [1, *theirs.encode(text)], repr(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_spm_puts_a_space_before_every_stretch_of_text(llama_directory):
    tokenizer = built(sentencepiece_tables(llama_directory))
    ids = tokenizer.encode("a<|im_end|>b", special=False)
    whole = b"".join(tokenizer.token_bytes(id) for id in ids)
    assert whole == b" a<|im_end|> b"
    unprefixed = built(replace(sentencepiece_tables(llama_directory), settings={"add_space_prefix": False}))
    assert unprefixed.decode(unprefixed.encode("a<|im_end|>b"), special=True) == "<s>a<|im_end|>b"


def test_llama3_takes_a_word_that_is_a_token_as_it_is():
    letters = [chr(i) for i in range(33, 127)]
    tables = TokenizerTables("gpt2", [*letters, "abc", "<|begin|>"], [], [1] * 95 + [3], [], {"bos_token_id": 95})
    whole = built(replace(tables, settings=tables.settings | {"pre": "llama-bpe"}))
    assert whole.encode("abc") == [95, 94]
    assert whole.bos_id == 95
    merged = built(replace(tables, settings=tables.settings | {"pre": "gpt-2"}))
    assert merged.encode("abc") == [64, 65, 66]


@pytest.mark.parametrize("least_tokens", [0, 10**9], ids=["in parts", "whole"])
@pytest.mark.parametrize(("kind", "pre"), [("gemma4", None), ("gpt2", "sarvam-moe")])
def test_merges_over_the_whole_text_with_spaces_marked(
    kind: str, pre: str | None, least_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_tables, "LEAST_TOKENS", least_tokens)
    pieces = ["▁", "a", "b", "\n", "a▁", "a▁b", "\n\n"]
    tokens = [*byte_tokens(), *pieces, "<turn|>"]
    merges = ["a ▁", "a▁ b", "\n \n"]
    tables = TokenizerTables("gpt2", tokens, [], [6] * 256 + [1] * 7 + [3], merges, {"pre": pre} if pre else {})
    tokenizer = built(replace(tables, kind=kind))
    assert tokenizer.warnings == ()
    ids = tokenizer.encode("a b\n\n é<turn|>")
    assert [tokens[id] for id in ids] == ["a▁b", "\n\n", "▁", "<0xC3>", "<0xA9>", "<turn|>"]
    assert tokenizer.decode(ids, special=True) == "a b\n\n é<turn|>"


def test_an_unknown_pre_tokenizer_is_warned_of(gpt2_directory):
    assert built(byte_level_tables(gpt2_directory, "gpt-2")).warnings == ()
    unknown = built(byte_level_tables(gpt2_directory, "brand-new"))
    assert "pre-tokenizer 'brand-new', which is unknown" in unknown.warnings[0]
    assert unknown.encode("abc") == built(byte_level_tables(gpt2_directory, "default")).encode("abc")


def test_ends_of_text_are_found_by_key_and_by_name():
    tokens = ["a", "<|im_end|>", "<|eot|>", "<|endoftext|>", "b"]
    tables = TokenizerTables("gpt2", tokens, [], [1, 3, 3, 3, 1], [], {"eos_token_id": 3, "eot_token_id": 2})
    assert built(tables).stop_ids == {1, 2, 3}
    assert built(replace(tables, settings={"eos_token_id": 4, "add_eos_token": True})).encode("a") == [0, 4]


def test_a_default_special_id_must_be_a_special_token():
    tokens = [chr(33 + i) for i in range(13)]
    comma = TokenizerTables("gpt2", tokens, [], [1] * 13, [], {"pre": "gpt-2"})
    assert tokens[11] == ","
    assert built(comma).special == {}
    assert built(comma).stop_ids == frozenset()
    assert built(replace(comma, token_types=[1] * 11 + [3, 1])).special == {"bos_token": 11, "eos_token": 11}


def test_no_tokenizer_is_none_and_unknown_kinds_are_named():
    empty = TokenizerTables("none", [], [], [], [], {})
    assert build_tokenizer(empty) is None
    assert build_tokenizer(replace(empty, kind="no_vocab")) is None
    with pytest.raises(UnsupportedError, match="kind of tokenizer: expected gpt2, gemma4, llama or none, found bert"):
        build_tokenizer(replace(empty, kind="bert"))


GOOD = TokenizerTables("llama", ["<unk>", "<s>", "</s>", "▁a"], [0.0, 0.0, 0.0, -1.0], [2, 3, 3, 1], [], {})
MALFORMED = {
    "no tokens": (replace(GOOD, tokens=[], scores=[], token_types=[]), "tokens: token list: expected one text per id"),
    "short scores": (replace(GOOD, scores=[0.0]), "scores: length: expected 4, as many as tokens, found 1"),
    "no scores": (replace(GOOD, scores=[]), "scores: length: expected 4, one per token, found 0"),
    "short types": (replace(GOOD, token_types=[1] * 5), "token_type: length: expected 4, as many as tokens, found 5"),
    "nan": (replace(GOOD, scores=[0.0, 0.0, 0.0, float("nan")]), "score of token 3: expected a number, found NaN"),
    "bos": (replace(GOOD, settings={"bos_token_id": 4}), "bos_token_id: token id: expected 0 to 3, found 4"),
    "eos type": (replace(GOOD, settings={"eos_token_id": "x"}), "eos_token_id: token id: expected 0 to 3, found 'x'"),
    "merge": (replace(GOOD, kind="gpt2", merges=["ab"]), "merge 0: expected two tokens with a space between"),
}


@pytest.mark.parametrize("case", sorted(MALFORMED))
def test_malformed_tables_are_one_line(case):
    tables, message = MALFORMED[case]
    with pytest.raises(TextError) as caught:
        build_tokenizer(tables)
    assert message in str(caught.value)


def test_merges_of_tokens_that_do_not_exist_are_left_out_and_warned_of():
    tables = TokenizerTables("gpt2", ["a", "b", "ab"], [], [], ["a b", "a c"], {"pre": "gpt-2"})
    tokenizer = built(tables)
    assert tokenizer.encode("ab") == [2]
    assert any("1 of 2 merges name tokens that do not exist" in warning for warning in tokenizer.warnings)
    assert any("254 of 256 bytes have no token" in warning for warning in tokenizer.warnings)
