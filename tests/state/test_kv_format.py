"""In which format keys and values are kept, and that all who ask get the same answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import nearlight
from nearlight.bench.model import packaged
from nearlight.dtypes import BF16, F16, F32, Q4_0, Q8_0, Format
from nearlight.errors import RequestError
from nearlight.plan import make_plan
from nearlight.state.kv_format import kv_name, usual_kv_format
from tests.models.random_models import CONFIGS, write_model


@pytest.mark.parametrize(
    ("formats", "kv"),
    [
        ([F32, F32], "f32"),
        ([F32, BF16], "f16"),
        ([F16], "f16"),
        ([BF16, BF16], "f16"),
        ([BF16, Q8_0], "f16"),
        ([F32, Q4_0], "f16"),
    ],
)
def test_the_formats_of_matrices_decide(formats: list[Format], kv: str) -> None:
    assert kv_name(usual_kv_format(formats)) == kv


def test_vectors_do_not(tmp_path: Path) -> None:
    write_model(tmp_path, CONFIGS["qwen2"], torch.float32)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].astype(np.float16)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    model = nearlight.load(tmp_path)
    assert model.engine.cache.format is model.counted.kv_format is F32


@pytest.mark.parametrize(
    ("dtype", "weights", "kv"),
    [(torch.float32, None, "f32"), (torch.bfloat16, None, "f16"), (torch.float32, "w4", "f16")],
)
def test_engine_counts_and_plans_agree(tmp_path: Path, dtype: torch.dtype, weights: str | None, kv: str) -> None:
    write_model(tmp_path, CONFIGS["qwen2"], dtype)
    model = nearlight.load(tmp_path, weights=weights)
    cache = model.engine.cache
    assert kv_name(cache.format) == kv_name(model.counted.kv_format) == kv
    assert model.counted.kv_bytes_per_token == cache.bytes_per_token
    plan = make_plan(tmp_path, "ryzen7950x", weights=weights)
    assert (plan.kv, plan.kv_bytes_per_token) == (kv, cache.bytes_per_token)
    assert packaged(tmp_path, weights).engine().cache.format is cache.format


@pytest.mark.parametrize(("asked", "format"), [("f16", F16), ("q8", Q8_0), ("f32", F32)])
def test_what_is_asked_for_is_kept(tmp_path: Path, asked: str, format: Format) -> None:
    write_model(tmp_path, CONFIGS["qwen2"], torch.float32)
    model = nearlight.load(tmp_path, kv=asked)
    assert model.engine.cache.format is model.counted.kv_format is format


def test_an_unknown_format_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="kv: expected one of f16, q8, f32, found 'q3'"):
        nearlight.load(tmp_path, kv="q3")
