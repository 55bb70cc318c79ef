"""A part of a vocabulary encodes a text as the whole does."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from corpus import NASTY
from test_gguf_tables import built, byte_level_tables

from nearlight.package.package import TokenizerTables
from nearlight.package.string_table import StringTable
from nearlight.text import gguf_tables, lazy_bpe
from nearlight.text.lazy_bpe import LazyBPE


@pytest.fixture
def tables(qwen2_directory: Path) -> TokenizerTables:
    return byte_level_tables(qwen2_directory, "qwen2")


@pytest.fixture(params=[list, StringTable.of])
def stored(request: pytest.FixtureRequest, tables: TokenizerTables) -> TokenizerTables:
    """The tables as lists, and as they come from a file."""
    return replace(tables, tokens=request.param(tables.tokens), merges=request.param(tables.merges))


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the vocabularies that were built, from here on in parts."""
    sizes: list[int] = []
    monkeypatch.setattr(gguf_tables, "LEAST_TOKENS", 0)
    part = LazyBPE._part

    def counted(self: LazyBPE, text: str) -> object:
        tokenizer = part(self, text)
        sizes.append(tokenizer.get_vocab_size())
        return tokenizer

    monkeypatch.setattr(LazyBPE, "_part", counted)
    return sizes


@pytest.mark.parametrize("pre", ["qwen2", "llama3", "gpt-2", "default"])
def test_ids_are_those_of_the_whole(
    stored: TokenizerTables, pre: str, whole: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.settings["pre"] = pre
    monkeypatch.setattr(lazy_bpe, "MOST_TEXTS", 10**6)
    lazy = built(stored)
    monkeypatch.setattr(gguf_tables, "LEAST_TOKENS", 10**9)
    plain = built(stored)
    dice = random.Random(4)
    alphabet = "".join(NASTY) + "the lazy dog "
    texts = [*NASTY, *("".join(dice.choices(alphabet, k=dice.randrange(60))) for _ in range(60))]
    texts += ["<|im_end|>".join(texts[3:6]), "".join(dice.choices(stored.tokens, k=30))]
    for text in texts:
        assert lazy.encode(text) == plain.encode(text)
    assert len(whole) == len(texts)
    assert min(whole) < len(stored.tokens) / 2


def test_what_is_known_of_tokens_is_the_same(
    tables: TokenizerTables, whole: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.tokens[5] = tables.tokens[9]  # of two with one text the last counts
    lazy = built(tables)
    monkeypatch.setattr(gguf_tables, "LEAST_TOKENS", 10**9)
    plain = built(tables)
    for text in (*tables.tokens, "no such token", ""):
        assert lazy.id_of(text) == plain.id_of(text)
    for name in ("special", "special_ids", "stop_ids", "n_tokens", "warnings"):
        assert getattr(lazy, name) == getattr(plain, name)
    assert lazy.decode(range(len(tables.tokens)), special=True) == plain.decode(range(len(tables.tokens)), special=True)


def test_long_texts_and_many_are_encoded_by_the_whole(tables: TokenizerTables, whole: list[int]) -> None:
    lazy = built(tables)
    for _ in range(lazy_bpe.MOST_TEXTS + 5):
        lazy.encode("the lazy dog")
    assert len(whole) == lazy_bpe.MOST_TEXTS
    whole.clear()
    built(tables).encode("dog " * lazy_bpe.LONGEST_TEXT)
    assert whole == []
