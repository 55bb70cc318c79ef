"""Strings that stay bytes: the same as a list of them, and found as in one."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nearlight.package import string_table
from nearlight.package.string_table import StringTable, find

ALPHABET = "ab é中🙂Ġ"


def random_strings(n: int, longest: int, seed: int = 0) -> list[str]:
    dice = random.Random(seed)
    return ["".join(dice.choices(ALPHABET, k=dice.randrange(longest + 1))) for _ in range(n)]


STRINGS = [*random_strings(3000, 5), *random_strings(500, 60, 1), "", "", "a", "a" * 300]


def test_it_is_a_sequence_of_the_strings() -> None:
    table = StringTable.of(STRINGS)
    assert len(table) == len(STRINGS)
    assert list(table) == STRINGS
    assert [table[i] for i in range(len(STRINGS))] == STRINGS
    assert table[-1] == STRINGS[-1]
    assert table[5:9] == STRINGS[5:9]
    assert table == STRINGS
    assert table != STRINGS[1:]
    assert list(StringTable.of([])) == []


def test_texts_are_found_as_in_a_list() -> None:
    table = StringTable.of(STRINGS)
    dice = random.Random(2)
    for n in (0, 1, 2, 17, 900):
        texts = {*dice.sample(STRINGS, n), *random_strings(n, 12, n)}
        expected = [i for i, text in enumerate(STRINGS) if text in texts]
        assert find(table, texts) == find(STRINGS, texts) == expected
    assert find(table, {""}) == [i for i, text in enumerate(STRINGS) if not text]
    assert find(StringTable.of([]), {"a"}) == []


def test_neighbours_do_not_belong_to_a_string() -> None:
    table = StringTable.of(["ab", "abc", "abcdefgh", "abcdefghi", "abcdefghX", "b"])
    for number, text in enumerate(table):
        assert table.find({text}) == [number]
    assert table.find({"abcdefg", "abcd", "c"}) == []


def test_equal_keys_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    table = StringTable.of(STRINGS)
    monkeypatch.setattr(string_table, "_ODD", np.uint64(0))
    assert table.find({"a"}) == [i for i, text in enumerate(STRINGS) if text == "a"]


def test_what_is_no_utf_8_reads_as_a_replacement() -> None:
    data = np.frombuffer(b"\0a\xffb\0ok\0\xc3", np.uint8)
    table = StringTable(data, np.array([1, 5, 8]), np.array([3, 2, 1]))
    assert list(table) == [table[0], table[1], table[2]] == ["a�b", "ok", "�"]
    assert table.find({"a�b", "ok"}) == [0, 1]
    assert table.find({"\ud800"}) == []
