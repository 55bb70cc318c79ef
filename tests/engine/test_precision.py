"""What is decided about attention from a package's weights, and that all who ask get the same answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nearlight
from nearlight.bench.subject import packaged
from nearlight.dtypes import BF16, F16, F32, Q4_0, Q8_0, Format
from nearlight.engine.precision import AttentionPrecision, attention_precision
from nearlight.errors import RequestError
from nearlight.layers.parameters import Parameter
from nearlight.plan import make_plan
from tests.models.random_models import CONFIGS, write_model


def bound_to(formats: list[Format]) -> list[Parameter]:
    matrices = [Parameter(f"w{i}", (3, 5), format=format) for i, format in enumerate(formats)]
    return [*matrices, Parameter("norm", (5,), format=F32)]


@pytest.mark.parametrize(
    ("formats", "kv", "exact"),
    [
        ([F32, F32], "f32", True),
        ([F32, BF16], "f16", True),
        ([F16], "f16", True),
        ([BF16, BF16], "f16", True),
        ([BF16, Q8_0], "f16", False),
        ([F32, Q4_0], "f16", False),
    ],
)
def test_matrices_decide_and_vectors_do_not(formats: list[Format], kv: str, exact: bool) -> None:
    precision = attention_precision(bound_to(formats))
    assert (precision.kv, precision.exact) == (kv, exact)
    for asked in (F32, F16, Q8_0):
        assert attention_precision(bound_to(formats), asked) == AttentionPrecision(asked, exact)


@pytest.mark.parametrize(
    ("dtype", "weights", "kv", "exact"),
    [
        (torch.float32, None, "f32", True),
        (torch.bfloat16, None, "f16", True),
        (torch.float32, "bf16", "f16", True),
        (torch.float32, "w4", "f16", False),
    ],
)
def test_engine_counts_and_plans_agree(
    tmp_path: Path, dtype: torch.dtype, weights: str | None, kv: str, exact: bool
) -> None:
    write_model(tmp_path, CONFIGS["qwen2"], dtype)
    model = nearlight.load(tmp_path, weights=weights)
    cache = model.engine.cache
    assert (cache.format, cache.exact) == (model.counted.attention.kv_format, model.counted.attention.exact)
    assert (model.counted.attention.kv, model.counted.attention.exact) == (kv, exact)
    assert model.counted.kv_bytes_per_token == cache.bytes_per_token
    plan = make_plan(tmp_path, "ryzen7950x", weights=weights)
    assert (plan.kv, plan.kv_bytes_per_token) == (kv, cache.bytes_per_token)
    measured = packaged(tmp_path, weights).engine().cache
    assert (measured.format, measured.exact) == (cache.format, cache.exact)


def test_an_unknown_format_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="kv: expected one of f16, q8, f32, found 'q3'"):
        nearlight.load(tmp_path, kv="q3")
