"""The figures of the closing line, by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from nearlight.cli.summary import as_json, closing_line
from nearlight.engine.completion import Completion, Timing
from nearlight.kernels.count import OpCost, StepCost
from nearlight.limits.cache import Cache
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

    def decode(self, context: int, batch: int = 1) -> StepCost:
        return StepCost([OpCost("all", "linear", weight_bytes=self.weight_bytes, kv_read_bytes=1000 * context)])

    def prefill(self, n_prompt: int, chunk: int | None = None, start: int = 0) -> list[StepCost]:
        return [StepCost([OpCost("all", "linear", weight_bytes=1, operations={"fp32": 2e6 * n_prompt})])]

    def verify(self, context: int, n_rows: int) -> StepCost:
        return self.decode(context)


MEMORY = RunLimit(Costs(), 4e9)
MODEL = cast("LanguageModel", SimpleNamespace(package=SimpleNamespace(name="M")))
CACHE = replace(MEMORY, cache=Cache(32e6, 8e9))


def test_closing_line() -> None:
    # A step reads 30 MB of weights and 1 kB for each of 406 + 42/2 = 427 tokens: 30.427 MB, 100 times a second.
    line = closing_line(completion(100.0), MEMORY)
    assert line == (
        "41 tokens · TTFT 0.03 s · prefill 812 tok/s · decode 100 tok/s · 3.0 GB/s · 76 % of this machine's limit"
    )


@pytest.mark.parametrize(
    ("limit", "share"),
    [
        (MEMORY, "76 % of this machine's limit"),
        (replace(MEMORY, beside=True), "76 % of this machine's limit (probed just now)"),
        (replace(MEMORY, read_bytes_per_s=3e9), "101 % of this machine's limit"),
        (replace(MEMORY, read_bytes_per_s=2e9), "152 % of this machine's limit (this limit moves)"),
        (replace(MEMORY, read_bytes_per_s=2e9, beside=True), "152 % of this machine's limit (this limit moves)"),
        (CACHE, "38 % of what this processor's cache allows"),
        (replace(CACHE, beside=True), "38 % of what this processor's cache allows (probed just now)"),
        (replace(CACHE, cache=Cache(32e6, 2e9)), "152 % of what this processor's cache allows (this limit moves)"),
        (
            replace(MEMORY, read_bytes_per_s=2e9, cache=Cache(15e6, 4e9)),
            "137 % of this machine's limit (part of it stays in the cache)",
        ),
    ],
)
def test_the_line_says_whose_limit_it_is_and_why_it_may_be_passed(limit: RunLimit, share: str) -> None:
    assert closing_line(completion(100.0), limit).endswith(" · 3.0 GB/s · " + share)


def test_json_tells_the_same_as_the_line() -> None:
    def told(limit: RunLimit) -> tuple[object, ...]:
        report = as_json(MODEL, completion(100.0), limit)["limit"]
        return report["of"], report["read_bytes_per_s"], report["probed"], round(report["decode_share"], 2)

    assert told(MEMORY) == ("memory", 4e9, "before", 0.76)
    assert told(CACHE) == ("cache", 8e9, "before", 0.38)
    assert told(replace(CACHE, beside=True)) == ("cache", 8e9, "beside the run", 0.38)


@pytest.mark.parametrize(("n_tokens", "has_share"), [(2, False), (19, False), (20, True), (41, True)])
def test_short_answers_have_no_share(n_tokens: int, has_share: bool) -> None:
    short = completion(100.0)
    short.token_ids = short.token_ids[:n_tokens]
    limit = as_json(MODEL, short, MEMORY)["limit"]
    assert (limit["decode_share"] is not None) == has_share
    assert limit["decode_tok_s"] == pytest.approx(4e9 / 30.4e6, rel=0.01)
    assert ("limit" in closing_line(short, MEMORY)) == has_share
    assert ("GB/s" in closing_line(short, MEMORY)) == has_share
    assert "decode 100 tok/s" in closing_line(short, MEMORY)


def test_loading_is_told_where_it_took_long() -> None:
    answer = completion(100.0, finish_reason="cancelled")
    assert "loaded" not in closing_line(answer, MEMORY)
    answer.timing.load_s = 0.9
    assert "loaded" not in closing_line(answer, MEMORY)
    assert closing_line(answer, MEMORY, verbose=True).endswith("loaded in 0.90 s · prompt 406 tokens · stopped by you")
    answer.timing.load_s = 4.25
    assert closing_line(answer, MEMORY).endswith("of this machine's limit · loaded in 4.2 s · stopped by you")


def test_limit_of_prefill_is_known_where_the_peaks_are() -> None:
    model = MODEL
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
    assert closing_line(by_wish, None).endswith("decode 8.0 tok/s · stopped by --max-tokens")
    by_context = completion(8.0, finish_reason="length", limit_reached="context")
    assert closing_line(by_context, None).endswith("decode 8.0 tok/s · stopped by the full context of 446 tokens")
