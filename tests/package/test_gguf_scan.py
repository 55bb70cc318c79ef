"""Strings that are read all at once are those that are read one by one."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from nearlight.package import gguf_scan
from nearlight.package.gguf_scan import Scanner
from nearlight.package.mapping import MappedFile

DICE = random.Random(5)
PIECES = [
    b"a",
    b"token",
    "ß".encode(),
    "\u4e2d".encode(),
    b"\xff",
    b"\xe4\xb8",
    b"\xf0\x9f",
    b"\xc3",
    b" ",
    b"\n",
    b"\x01",
]
SHORT = [b"".join(DICE.choices(PIECES, k=DICE.randrange(9))) for _ in range(500)]


def scanner(tmp_path: Path, strings: list[bytes], tail: bytes = b"") -> Scanner:
    path = tmp_path / "strings"
    path.write_bytes(b"xyz" + b"".join(struct.pack("<Q", len(raw)) + raw for raw in strings) + tail)
    return Scanner(MappedFile(path), 3)


@pytest.mark.parametrize("tail", [b"", b"more"])
@pytest.mark.parametrize("last", [b"", b"z" * 255])
def test_short_strings_are_read_at_once(tmp_path: Path, last: bytes, tail: bytes) -> None:
    strings = [*SHORT, last]
    at_once, one_by_one = scanner(tmp_path, strings, tail), scanner(tmp_path, strings, tail)
    found = at_once._short_strings(len(strings))
    assert (
        found == one_by_one._any_strings("field", len(strings)) == [raw.decode("utf-8", "replace") for raw in strings]
    )
    assert at_once.position == one_by_one.position


@pytest.mark.parametrize("odd", [b"z" * 256, b"z" * 70_000, b"a\0b", b"\0"])
def test_others_are_read_one_by_one(tmp_path: Path, odd: bytes) -> None:
    strings = [*SHORT, odd, *SHORT]
    scan = scanner(tmp_path, strings)
    assert scan._short_strings(len(strings)) is None
    assert scan.position == 3
    assert scan._strings("field", len(strings)) == [raw.decode("utf-8", "replace") for raw in strings]


def test_others_do_not_make_it_look_at_what_lies_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    lengths = gguf_scan._lengths
    monkeypatch.setattr(gguf_scan, "_lengths", lambda data, count: seen.append(len(data)) or lengths(data, count))
    assert scanner(tmp_path, [b"a\0b"] * 3, bytes(100_000))._short_strings(3) is None
    assert 0 < max(seen) <= 3 * 263


def test_the_end_of_the_file_is_met_by_neither(tmp_path: Path) -> None:
    for cut in range(1, 12):
        scan = scanner(tmp_path, [b"token"] * 3, struct.pack("<Q", 5) + b"tok")
        assert scan._short_strings(4) is None
        scan = scanner(tmp_path, [b"token"] * 3 + [b"abc"], b"")
        scan.file.length -= cut
        assert scan._short_strings(4) is None
