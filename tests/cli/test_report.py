"""The figures of the closing line, by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from nearlight.cli.report import as_json, closing_line, limit_of
from nearlight.cli.units import bytes_text, count_text, seconds_text, significant
from nearlight.engine.completion import Completion, Timing
from nearlight.kernels.count import Entry, Ledger
from nearlight.kernels.cpu import probe
from nearlight.limits.run import RunLimit

if TYPE_CHECKING:
    from nearlight.engine.language_model import LanguageModel


def completion(decode_tok_s: float, **fields: Any) -> Completion:
    timing = Timing(ttft_s=0.034, prefill_s=0.5, prefill_tokens=406, decode_s=40 / decode_tok_s, decode_steps=40)
    reason = {"finish_reason": "stop"} | fields
    return Completion(token_ids=list(range(41)), prompt_tokens=406, timing=timing, **reason)


class Costs:
    """Reads 30 MB of weights a step, and 1 kB for every token in the cache."""

    weight_bytes = 30_000_000

    def kv_bytes(self, n_tokens: int) -> float:
        return 1000 * n_tokens

    def decode(self, context: int, batch: int = 1) -> Ledger:
        return Ledger([Entry("all", "linear", weight_bytes=self.weight_bytes, kv_read_bytes=1000 * context)])

    def prefill(self, n_prompt: int, chunk: int | None = None, start: int = 0) -> list[Ledger]:
        return [Ledger([Entry("all", "linear", weight_bytes=1, operations={"fp32": 2e6 * n_prompt})])]

    def verify(self, context: int, n_rows: int) -> Ledger:
        return self.decode(context)


class Model:
    """Has a limit on file, and another when the machine is probed again."""

    def __init__(self, on_file: float, now: float) -> None:
        self.package = SimpleNamespace(name="M")
        self.on_file, self.now = on_file, now

    def limits(self, *, fresh: bool = False) -> RunLimit:
        return RunLimit(Costs(), self.now if fresh else self.on_file)


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "last_cache_bytes", lambda: 1_000_000)


def test_closing_line() -> None:
    # A step reads 30 MB of weights and 1 kB for each of 406 + 42/2 = 427 tokens: 30.427 MB, 100 times a second.
    line = closing_line(completion(100.0), RunLimit(Costs(), read_bytes_per_s=4e9))
    assert line == (
        "41 tokens · TTFT 0.03 s · prefill 812 tok/s · decode 100 tok/s · 3.0 GB/s · 76 % of this machine's limit"
    )


def test_a_share_over_the_limit_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = RunLimit(Costs(), read_bytes_per_s=2e9)
    assert closing_line(completion(100.0), limit).endswith("152 % of this machine's limit (as memory was probed)")
    monkeypatch.setattr(probe, "last_cache_bytes", lambda: 16_000_000)
    assert closing_line(completion(100.0), limit).endswith(
        "152 % of this machine's limit (the model fits in the processor's cache)"
    )


def test_faster_than_the_limit_on_file_is_probed_again(capsys: pytest.CaptureFixture[str]) -> None:
    model = cast("LanguageModel", Model(on_file=2.5e9, now=4e9))
    assert limit_of(model, completion(100.0)).read_bytes_per_s == 4e9
    assert capsys.readouterr().err == (
        "nearlight: faster than the limit on file, so memory was probed again: 4.0 GB/s, not 2.5 GB/s\n"
    )
    assert limit_of(model, completion(80.0)).read_bytes_per_s == 2.5e9
    assert capsys.readouterr().err == ""


def test_a_model_in_the_cache_needs_no_other_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "last_cache_bytes", lambda: 16_000_000)
    model = cast("LanguageModel", Model(on_file=2.5e9, now=4e9))
    assert limit_of(model, completion(100.0)).read_bytes_per_s == 2.5e9


def test_limit_of_prefill_is_known_where_the_peaks_are() -> None:
    model = cast("LanguageModel", Model(4e9, 4e9))
    unknown = as_json(model, completion(100.0), RunLimit(Costs(), 4e9))["limit"]
    assert (unknown["prefill_tok_s"], unknown["prefill_share"]) == (None, None)
    assert unknown["prefill_label"].startswith("unknown: ")
    known = as_json(model, completion(100.0), RunLimit(Costs(), 4e9, {"fp32": 4e9}))["limit"]
    assert known["prefill_tok_s"] == pytest.approx(2000)
    assert known["prefill_share"] == pytest.approx(812 / 2000)
    assert known["prefill_label"] == "measured"


def test_what_was_not_measured_is_left_out() -> None:
    empty = Completion(finish_reason="cancelled")
    assert closing_line(empty, None) == "0 tokens · stopped by you"
    by_wish = completion(8.0, finish_reason="length", limit_reached="max_tokens")
    assert closing_line(by_wish, None).endswith("decode 8.0 tok/s · stopped at 41 tokens (--max-tokens)")
    by_context = completion(8.0, finish_reason="length", limit_reached="context")
    assert closing_line(by_context, None).endswith("decode 8.0 tok/s · stopped by the full context of 446 tokens")


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
