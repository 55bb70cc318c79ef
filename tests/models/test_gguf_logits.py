"""GGUF files of every type against transformers with the weights that the gguf package reads from them."""

from pathlib import Path

import pytest

import nearlight
from nearlight.dtypes import BF16, F16, F32, GGML, Q4_K, Q8_0, Format
from tests.models.gguf_models import CONFIGS, write_gguf
from tests.models.random_models import relative_error, transformers_logits

IDS = [1, 17, 4, 99, 35, 62, 8, 8, 71, 50, 23, 90, 11]


@pytest.mark.parametrize("format", GGML, ids=str)
def test_every_type(tmp_path: Path, format: Format) -> None:
    theirs = write_gguf(tmp_path / "model.gguf", "qwen3", format)
    wanted = transformers_logits(theirs, IDS)
    bound = 1e-4 if format is F32 else 2e-3 if format is F16 else 2e-2
    model = nearlight.load(tmp_path / "model.gguf", kv="f32" if format is F32 else None)
    assert relative_error(model.logits(IDS), wanted) <= bound
    reference = nearlight.load(tmp_path / "model.gguf", kv="f32", backend="reference")
    assert relative_error(reference.logits(IDS), wanted) <= 1e-4


@pytest.mark.parametrize("format", [F32, BF16, Q8_0, Q4_K], ids=str)
@pytest.mark.parametrize("family", CONFIGS)
def test_every_family(tmp_path: Path, family: str, format: Format) -> None:
    theirs = write_gguf(tmp_path / "model.gguf", family, format)
    model = nearlight.load(tmp_path / "model.gguf", kv="f32")
    assert relative_error(model.logits(IDS), transformers_logits(theirs, IDS)) <= (1e-4 if format is F32 else 2e-2)
