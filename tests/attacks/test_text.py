"""Vocabularies that are out of order: one line, and no more work than their size deserves."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearlight.errors import TextError
from nearlight.package import open_package
from nearlight.text.sentencepiece import merges_of
from nearlight.text.tokenizer import build_tokenizer
from tests.attacks import families


@pytest.mark.parametrize("id", [float("inf"), float("nan"), 2**31, -1, "one", None])
def test_ids_of_added_tokens_are_ids(tmp_path: Path, id: object) -> None:
    parts = families.sound_parts("gpt2-directory")
    parts.documents["added_tokens.json"] = {"<extra>": id}
    families.write(parts.contents(), tmp_path / "model")
    with pytest.raises(TextError, match="id of an added token: expected 0 or more, below"):
        build_tokenizer(open_package(tmp_path / "model").tokenizer)


class Counted(str):
    """A text that counts how often it is cut."""

    cuts = 0

    def __getitem__(self, key: object) -> str:
        Counted.cuts += 1
        return super().__getitem__(key)  # type: ignore[index]


def test_a_piece_without_end_is_cut_only_where_pieces_may_meet() -> None:
    longest = Counted("ab" * 100_000)
    vocab = {Counted(text): id for id, text in enumerate(["a", "b", "ab", "aba", longest[:-2], longest, ""])}
    Counted.cuts = 0
    merges = merges_of(vocab, vocab)
    assert merges == [("a", "b"), ("ab", "a"), ("ab", longest[:-2]), (longest[:-2], "ab")]
    assert Counted.cuts < 40


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize(
    "settings",
    [
        {"eos_token": "\ud800"},
        {"unk_token": {"content": "\udc00\0"}},
        {"additional_special_tokens": ["\ud800"]},
        {"added_tokens_decoder": {"300": {"content": "\ud800"}}},
    ],
)
def test_half_a_character_is_no_end(tmp_path: Path, family: str, settings: dict[str, object]) -> None:
    """JSON can spell lone surrogates, which no text for a tokenizer may hold."""
    parts = families.sound_parts(f"{family}-directory")
    parts.documents["tokenizer_config.json"] |= settings
    families.write(parts.contents(), tmp_path / "model")
    package = open_package(tmp_path / "model")
    tokenizer = build_tokenizer(package.tokenizer, package.special_tokens)
    assert tokenizer is not None
    assert tokenizer.decode(tokenizer.encode("the end", special=False)) == "the end"
    assert tokenizer.id_of("\ud800") == tokenizer.id_of("\ufffd")
