"""Files that llama.cpp's converter made, against the logits of their models: nobody here wrote either.

They lie beside the checkout, or where NEARLIGHT_TINY_GGUFS says; `docs/formats.md` tells what each family's have.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import nearlight
from tests.models.random_models import relative_error

FILES = Path(os.environ.get("NEARLIGHT_TINY_GGUFS") or Path(__file__).parents[3] / "shared" / "gguf")
RUN = [
    "gemma2",
    "glm4",
    "glm4_moe",
    "gemma3",
    "gemma4",
    "gpt_oss_f32",
    "mamba",
    "mamba2",
    "mistral",
    "mixtral",
    "olmo2",
    "qwen3_moe",
    "smollm3",
]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", RUN)
def test_logits_are_those_of_the_model_it_was_made_from(name: str, backend: str) -> None:
    path = FILES / f"{name}.gguf"
    if not path.exists():
        pytest.skip(f"no {path}; NEARLIGHT_TINY_GGUFS says where such files are")
    wanted = np.load(path.with_suffix(".npz"))
    found = nearlight.load(path, backend=backend).logits(wanted["ids"].tolist())
    assert relative_error(found, wanted["logits"]) <= 1e-5
