"""Files that llama.cpp's converter made, against the logits of their models: nobody here wrote either."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import nearlight
from tests.models.random_models import relative_error
from tests.models.tiny_ggufs import FILES, that_run

BACKENDS = ["reference", "cpu"]
IN_8_BITS = {("gpt_oss", "cpu")}
"""What experts in MXFP4 are given is rounded to 8 bits."""
ROUNDED_BY_ROW = {"qwen3_5", "qwen3_5_moe", "qwen3_next"}
"""Their logits are of chunks; row by row, as here and in decoding, transformers' own are off by as much."""


def test_there_are_files():
    if not that_run():
        warnings.warn(f"not tested: no files in {FILES}; NEARLIGHT_TINY_GGUFS says where they are", stacklevel=1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", that_run(), ids=lambda path: path.stem)
def test_logits_are_those_of_the_model_it_was_made_from(path: Path, backend: str) -> None:
    wanted = np.load(path.with_suffix(".npz"))
    model = nearlight.load(path, backend=backend, kv="f32")
    bound = 0.1 if (path.stem, backend) in IN_8_BITS else 1e-4 if path.stem in ROUNDED_BY_ROW else 1e-5
    assert relative_error(model.logits(wanted["ids"].tolist()), wanted["logits"]) <= bound
    if "ids_short" in wanted:  # of another rotation
        assert relative_error(model.logits(wanted["ids_short"].tolist()), wanted["logits_short"]) <= bound
