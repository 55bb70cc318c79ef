"""The figures of the closing line, by hand."""

from __future__ import annotations

import pytest

from nearlight.cli.report import closing_line
from nearlight.cli.units import bytes_text, count_text, seconds_text, significant
from nearlight.engine.completion import Completion, Timing
from nearlight.limits.decode import DecodeCost, DecodeLimit


def completion(decode_tok_s: float, reason: str = "stop") -> Completion:
    timing = Timing(ttft_s=0.034, prefill_s=0.5, prefill_tokens=406, decode_s=40 / decode_tok_s, decode_steps=40)
    return Completion(token_ids=list(range(41)), finish_reason=reason, prompt_tokens=406, timing=timing)


def test_closing_line() -> None:
    # A step reads 30 MB of weights and 1 kB for each of 406 + 42/2 = 427 tokens: 30.427 MB, 100 times a second.
    limit = DecodeLimit(DecodeCost(30_000_000, 1000), read_bytes_per_s=4e9)
    line = closing_line(completion(100.0), limit)
    assert line == (
        "41 tokens · TTFT 0.03 s · prefill 812 tok/s · decode 100 tok/s · 3.0 GB/s · 76 % of this machine's limit"
    )


def test_a_share_over_the_limit_is_explained() -> None:
    limit = DecodeLimit(DecodeCost(30_000_000, 1000), read_bytes_per_s=2e9)
    assert closing_line(completion(100.0), limit).endswith(
        "152 % of this machine's limit (the model fits in the processor's cache)"
    )


def test_what_was_not_measured_is_left_out() -> None:
    empty = Completion(finish_reason="cancelled")
    assert closing_line(empty, None) == "0 tokens · stopped by you"
    assert closing_line(completion(8.0, "length"), None).endswith("decode 8.0 tok/s · stopped at the limit of tokens")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (bytes_text(999), "999 B"),
        (bytes_text(16_007_168), "16 MB"),
        (bytes_text(999_600), "1.0 MB"),
        (bytes_text(8_234_567_890), "8.2 GB"),
        (count_text(596_049_920), "596 M"),
        (count_text(7_620_000_000), "7.62 B"),
        (count_text(812), "812"),
        (seconds_text(0.031), "0.03 s"),
        (seconds_text(4.25), "4.2 s"),
        (seconds_text(125.4), "2 min 5 s"),
        (significant(0.0312), "0.031"),
        (significant(812.4), "812"),
        (significant(0), "0"),
    ],
)
def test_units(text: str, expected: str) -> None:
    assert text == expected
