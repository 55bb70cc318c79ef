"""The published tables for Qwen1.5 on an RTX 4090, to the last printed digit, under the "blog" convention."""

from __future__ import annotations

from functools import cache

import pytest

from nearlight.dtypes import F16
from nearlight.errors import RequestError
from nearlight.kernels.count import ACCELERATOR
from nearlight.plan import Plan, make_plan
from nearlight.plan.blog import blog_shape
from nearlight.plan.subject import subject_of

GIGA = 2**30


@cache
def plan(size: str, weights: str = "w16", kv: str = "16") -> Plan:
    return make_plan(f"qwen1.5-{size}", "rtx4090", weights=weights, kv=kv, prompt=1000, convention="blog", advice=False)


@pytest.mark.parametrize(
    ("size", "layers", "head", "total"),
    [
        ("0.5b", "0.29", "0.14", "0.43"),
        ("1.8b", "1.13", "0.29", "1.42"),
        ("4b", "2.95", "0.36", "3.32"),
        ("7b", "6.03", "0.58", "6.61"),
        ("14b", "11.74", "0.73", "12.47"),
        ("32b", "28.83", "0.73", "29.55"),
        ("72b", "65.00", "1.16", "66.16"),
        ("110b", "101.25", "1.16", "102.41"),
    ],
)
def test_parameters(size, layers, head, total):
    shape = blog_shape(subject_of(f"qwen1.5-{size}").counted(None, F16, ACCELERATOR))
    found = (shape.layers / GIGA, shape.head / GIGA, (shape.layers + shape.head) / GIGA)
    assert tuple(f"{number:.2f}" for number in found) == (layers, head, total)


@pytest.mark.parametrize(
    ("size", "millions"), [("0.5b", 0.046875), ("7b", 0.25), ("32b", 0.125), ("110b", 0.15625)]
)  # the post prints 0.125 for 110B: an erratum
def test_kv_numbers_per_token(size, millions):
    assert plan(size).kv_bytes_per_token / 2 / 2**20 == millions


@pytest.mark.parametrize(
    ("size", "weights", "kv", "tokens"),
    [
        ("0.5b", "w16", "16", 252705),
        ("0.5b", "w8", "16", 257424),
        ("0.5b", "w4", "16", 259784),
        ("7b", "w16", "16", 22072),
        ("7b", "w8", "16", 35612),
        ("7b", "w4", "16", 42382),
        ("7b", "w6", "16", 38997),
        ("7b", "w4", "8", 84764),
        ("14b", "w16", "16", 0),
        ("14b", "w8", "16", 15114),
        ("14b", "w4", "16", 23285),
        ("32b", "w4", "16", 37778),
        ("32b", "w6", "16", 7515),
    ],
)
def test_tokens_that_fit(size, weights, kv, tokens):
    assert plan(size, weights, kv).max_context == tokens


def test_tokens_that_fit_beside_grouped_keys():
    test_tokens_that_fit("32b", "w4", "16", 37778)


@pytest.mark.parametrize(
    ("size", "ms"),
    [("0.5b", "6.80"), ("1.8b", "26.76"), ("4b", "69.89"), ("7b", "142.68"), ("14b", "277.79"), ("72b", "1537.46")],
)
def test_time_to_first_token(size, ms):
    prefill = plan(size, "w8").prefill
    assert prefill is not None
    assert f"{1000 * prefill.ttft_s:.2f}" == ms


def test_time_to_first_token_in_binary_units():
    test_time_to_first_token("7b", "142.68")


@pytest.mark.parametrize(("size", "rough", "exact"), [("0.5b", 85.38, 129.11), ("7b", 84.40, 92.47)])
def test_inflection(size, rough, exact):
    prefill = plan(size).prefill
    assert prefill is not None
    assert prefill.inflection_rough == pytest.approx(rough, abs=0.02)  # they were searched, not solved
    assert prefill.inflection_tokens == pytest.approx(exact, abs=0.02)


def test_inflection_with_keys_written_and_read():
    test_inflection("0.5b", 85.38, 129.11)


@pytest.mark.parametrize(
    ("size", "weights", "tokens_per_ms", "first_ms"),
    [
        ("0.5b", "w16", "11010", "0.86"),
        ("0.5b", "w8", "11010", "0.43"),
        ("0.5b", "w4", "11010", "0.21"),
        ("7b", "w16", "2064", "13.12"),
        ("7b", "w8", "2064", "6.56"),
        ("7b", "w4", "2064", "3.28"),
        ("32b", "w16", "4129", "58.64"),
        ("110b", "w16", "3303", "203.20"),
    ],
)
def test_decode_lines(size, weights, tokens_per_ms, first_ms):
    line = plan(size, weights).decode_line
    assert line is not None
    assert f"{line.tokens_per_ms:.0f}" == tokens_per_ms
    assert f"{1000 * line.first_s:.2f}" == first_ms


def test_decode_line_reads_keys_once():
    test_decode_lines("7b", "w16", "2064", "13.12")


def test_convention_knows_its_own_precisions():
    with pytest.raises(RequestError, match="kv: expected one of 16, 8, found 'f32'"):
        plan("0.5b", kv="f32")
