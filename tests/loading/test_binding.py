"""Where a package and its config disagree."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file, save_file

import nearlight
from nearlight.dtypes import Q4_0, Q6_K
from nearlight.errors import PackageError
from nearlight.kernels.cpu import CpuOps
from nearlight.loading.binding import bind
from nearlight.models import build_model
from nearlight.package import open_package
from tests.models.random_models import CONFIGS, relative_error, transformers_logits, write_model

IDS = [7, 3, 90, 41, 5, 66, 12, 99, 4, 8, 15]


def rewrite(directory: Path, **changes: np.ndarray | None) -> None:
    file = directory / "model.safetensors"
    tensors = load_file(file)
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    save_file(tensors, file, {"format": "pt"})


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, CONFIGS["qwen3"])
    rewrite(tmp_path, model__layers__1__mlp__up_proj__weight=None)
    with pytest.raises(PackageError, match=r"model\.layers\.1\.mlp\.up_proj\.weight is missing.*\[75, 42\]"):
        nearlight.load(tmp_path, backend="reference")


def test_a_shape_that_disagrees_with_the_config_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, CONFIGS["qwen3"])
    rewrite(tmp_path, model__norm__weight=np.ones(40, np.float32))
    with pytest.raises(PackageError, match=r"model\.norm\.weight: expected \[42\].*found \[40\]"):
        nearlight.load(tmp_path, backend="reference")


def test_a_norm_with_nan_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, CONFIGS["qwen3"])
    rewrite(tmp_path, model__norm__weight=np.full(42, np.nan, np.float32))
    with pytest.raises(PackageError, match=r"model\.norm\.weight.*NaN"):
        nearlight.load(tmp_path, backend="reference")


def test_an_absent_head_is_tied(tmp_path: Path) -> None:
    theirs = write_model(tmp_path, CONFIGS["qwen3"])
    rewrite(tmp_path, lm_head__weight=None)
    theirs.lm_head.weight = theirs.model.embed_tokens.weight
    model = nearlight.load(tmp_path, backend="reference", kv="f32")
    assert relative_error(model.logits(IDS), transformers_logits(theirs, IDS)) <= 1e-4


WIDE = {"vocab_size": 96, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1}


@pytest.mark.parametrize(
    "config",
    [
        transformers.GPT2Config(vocab_size=96, n_embd=256, n_layer=1, n_head=4, bos_token_id=1, eos_token_id=2),
        transformers.LlamaConfig(**WIDE, num_attention_heads=4, tie_word_embeddings=False),
    ],
    ids=["gpt2", "llama"],
)
def test_tables_and_heads_keep_more_bits_than_layers_whatever_they_are_called(tmp_path: Path, config: Any) -> None:
    """GPT-2's table is called wte, and is its head as well: its errors go straight into the logits."""
    write_model(tmp_path, config)
    matrices = [p for p in nearlight.load(tmp_path, weights="w4").engine.model.parameters() if p.is_matrix]
    assert {p.format for p in matrices if p.role in ("embedding", "head")} == {Q6_K}
    assert {p.format for p in matrices if p.role in ("attention", "mlp")} == {Q4_0}


@pytest.mark.parametrize(("weights", "bound"), [("bf16", 0.02), ("w8", 0.03), ("w6", 0.12), ("w4", 0.5)])
def test_requantized_weights_stay_near(tmp_path: Path, weights: str, bound: float) -> None:
    """Odd sizes are padded to whole blocks; a 42-wide model is far harsher on 4 bits than a real one."""
    theirs = write_model(tmp_path, CONFIGS["llama-biases"])
    wanted = transformers_logits(theirs, IDS)
    for backend in ("reference", "cpu"):
        got = nearlight.load(tmp_path, weights=weights, backend=backend).logits(IDS)
        assert 1e-4 < relative_error(got, wanted) < bound


def test_pages_of_the_file_are_given_back(tmp_path: Path) -> None:
    """Every tensor that is taken in lets go of what it touched, large ones while they are taken in."""
    write_model(tmp_path, CONFIGS["qwen3"])
    package = open_package(tmp_path)
    released: list[str] = []
    tensors = {
        name: replace(tensor, release=lambda name=name: released.append(name))
        for name, tensor in package.tensors.items()
    }
    ops = CpuOps(1)
    model = build_model(ops, package.config)
    bind(model, replace(package, tensors=tensors), ops)
    assert set(released) == {parameter.name for parameter in model.parameters()}
