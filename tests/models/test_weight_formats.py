"""What others call the formats of weights, and which of ours that is."""

from __future__ import annotations

import pytest

from nearlight.models.weight_formats import REQUANTIZATIONS, nearest_kind, said_of


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("bf16", "bf16 BF16 fp16 f16 float16"),
        ("w8", "w8 q8_0 Q8_0 int8 fp8"),
        ("w6", "w6 q6_k Q6-K q5_k_m"),
        ("w4", "w4 q4_k_m q4_0 Q4 int4 nf4 iq4_xs mxfp4 q2_k"),
    ],
)
def test_nearest(kind: str, names: str) -> None:
    assert kind in REQUANTIZATIONS
    assert {nearest_kind(name) for name in names.split()} == {kind}


def test_what_is_ours_needs_no_word() -> None:
    assert [said_of(name) for name in (*REQUANTIZATIONS, "W4", "w5", "fp32")] == [None] * 7
    assert said_of("int8") == "weights int8 are w8 here (blocks of Q8_0)"


def test_fewer_bits_than_asked_for_only_where_there_are_no_more() -> None:
    assert nearest_kind("q5_0") == "w6"
    assert nearest_kind("fp32") == "fp32"  # none of ours is as good: refused, as an unknown name
