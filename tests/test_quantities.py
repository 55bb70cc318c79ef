"""Numbers as people write them."""

from __future__ import annotations

import pytest

from nearlight.errors import RequestError
from nearlight.quantities import read_bytes, read_count


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
