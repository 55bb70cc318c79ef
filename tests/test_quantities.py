"""Numbers as people write and read them."""

from __future__ import annotations

import pytest

from nearlight.errors import RequestError
from nearlight.quantities import (
    bytes_text,
    count_text,
    memory_text,
    number_of,
    read_bytes,
    read_count,
    seconds_text,
    significant,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("4096", 4096),
        ("8k", 8000),
        ("8K", 8000),
        ("8Ki", 8192),
        ("1.5G", 1_500_000_000),
        ("1.5 gi", 3 << 29),
        ("0.001M", 1000),
        ("2T", 2 * 10**12),
        (" 7 ", 7),
    ],
)
def test_tokens_and_bytes(text: str, value: int) -> None:
    assert read_count(text, "-c") == value
    assert read_bytes(text, "SIZE") == value


@pytest.mark.parametrize(("text", "value"), [("500MB", 5 * 10**8), ("2GiB", 2 << 30), ("12b", 12), ("3 KB", 3000)])
def test_only_bytes_have_a_b(text: str, value: int) -> None:
    assert read_bytes(text, "SIZE") == value
    with pytest.raises(RequestError, match=r"^-c: expected a whole number, like 4096, 8k \(8000\) or 8Ki \(8192\), fo"):
        read_count(text, "-c")


@pytest.mark.parametrize(
    "text", ["", "k", "-1", "+1", "1,5k", "1.5", "1.0005k", "1e3", "8x", "8kk", "8ik", "nan", "٨", "9" * 19, "9E"]
)
def test_nonsense_is_refused(text: str) -> None:
    for read in (read_bytes, read_count):
        with pytest.raises(RequestError, match=r"^SIZE: expected a "):
            read(text, "SIZE")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (bytes_text(999), "999 B"),
        (bytes_text(16_007_168), "16 MB"),
        (bytes_text(999_600), "1.0 MB"),
        (bytes_text(8_234_567_890), "8.2 GB"),
        (memory_text(999), "999 B"),
        (memory_text(32 << 20), "32 MiB"),
        (memory_text(25_276_514_304, 3), "23.5 GiB"),
        (memory_text(1023 << 20), "1.00 GiB"),
        (count_text(596_049_920), "596 M"),
        (count_text(7_620_000_000), "7.62 B"),
        (count_text(812), "812"),
        (seconds_text(0.031), "0.03 s"),
        (seconds_text(4.25), "4.2 s"),
        (seconds_text(125.4), "2 min 5 s"),
        (significant(0.0312), "0.031"),
        (significant(812.4), "812"),
        (significant(0), "0"),
        (number_of(0, "token"), "0 tokens"),
        (number_of(1, "thread"), "1 thread"),
        (number_of(2, "thread"), "2 threads"),
    ],
)
def test_figures(text: str, expected: str) -> None:
    assert text == expected
