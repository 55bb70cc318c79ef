"""Configs that say nonsense of single layers or experts, in every family: one line, and nothing is built by it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearlight
from nearlight.errors import PackageError
from nearlight.kernels.count import CountOps
from nearlight.models import build_model
from tests.attacks import sound
from tests.attacks.families import config_of, weights
from tests.models.random_models import CONFIGS, WINDOWED

ALL = {name: config.to_dict() for name, config in {**CONFIGS, **WINDOWED}.items()}
SENSELESS: dict[str, list[Any]] = {
    "layer_types": [
        ["full_attention"],
        ["full_attention"] * 99,
        ["full"] * 3,
        ["no_attention"] * 3,
        "full_attention",
    ],
    "sliding_window": [0, -1, 2.5, True, "4", 2**40],
    "attention_chunk_size": [0, -1, 2.5, True, "4", 2**40],
    "num_experts_per_tok": [0, -1, 99, 2.0, "2"],
    "num_experts": [0, -1, True, "5"],
    "num_local_experts": [0, -1, True, "5"],
    "n_routed_experts": [0, -1, True, "5"],
    "n_group": [0, 4, "3"],
    "no_rope_layers": [[1], [1] * 9, [2] * 5, "1"],
    "moe_layers": [[99], [-1], ["1"], "1"],
}
"""What no family can make sense of. A null is another matter: it is said where nothing is meant."""


def cases() -> Iterator[tuple[str, str, Any]]:
    for name, config in ALL.items():
        for key, values in SENSELESS.items():
            if config.get(key) and matters(config, key):
                yield from ((name, key, value) for value in values if value != 0 or not may_be_dense(config, key))


def may_be_dense(config: dict[str, Any], key: str) -> bool:
    """Say whether no experts are a model without any."""
    return key in ("num_experts", "num_local_experts") and config["model_type"] in ("granitemoehybrid", "qwen3_next")


def matters(config: dict[str, Any], key: str) -> bool:
    """Say whether a key is read: many configs carry a window, or kinds of layers, that nothing uses."""
    kind = config["model_type"]
    if key == "num_experts_per_tok" and config.get("num_local_experts") == 0:
        return False
    if key in ("layer_types", "sliding_window") and kind in ("qwen2", "qwen3", "qwen3_moe", "smollm3", "llama"):
        return bool(config.get("use_sliding_window"))
    return not (key == "layer_types" and kind in ("exaone4", "mistral") and not config.get("sliding_window"))


@pytest.mark.parametrize(("name", "key", "value"), list(cases()))
def test_nonsense_is_named(name: str, key: str, value: Any) -> None:
    with pytest.raises(PackageError, match=key.removesuffix("_size")) as raised:
        build_model(CountOps(), ALL[name] | {key: value})
    assert len(str(raised.value)) < 400


def write(directory: Path, family: str, changed: dict[str, Any]) -> Path:
    """Write a package whose tensors are those given in place of its own; None leaves one out."""
    tensors = weights(family) | changed
    content = sound.safetensors_bytes({name: np.ascontiguousarray(v) for name, v in tensors.items() if v is not None})
    (directory / "model.safetensors").write_bytes(content)
    (directory / "config.json").write_text(json.dumps(config_of(family)))
    return directory


ROUTERS = {"gpt_oss": "mlp.router", "qwen3_moe": "mlp.gate", "llama4_text": "feed_forward.router"}


@pytest.mark.parametrize("family", ROUTERS)
@pytest.mark.parametrize("n_experts", [0, 2, 4])
def test_routers_of_other_numbers_of_experts_are_refused(tmp_path: Path, family: str, n_experts: int) -> None:
    name = f"model.layers.1.{ROUTERS[family]}.weight"
    spoiled = {name: np.zeros((n_experts, 32), np.float32)}
    with pytest.raises(
        PackageError, match=rf"shape of tensor {name}: expected \[3, 32\], .*, found \[{n_experts}, 32\]"
    ):
        nearlight.load(write(tmp_path, family, spoiled))


@pytest.mark.parametrize("family", ROUTERS)
@pytest.mark.parametrize("part", ["gate_proj", "up_proj", "down_proj"])
def test_an_expert_that_is_not_there_is_named(tmp_path: Path, family: str, part: str) -> None:
    name = f"model.layers.1.{ROUTERS[family].partition('.')[0]}.experts.2.{part}.weight"
    with pytest.raises(PackageError, match=f"tensor {name} is missing"):
        nearlight.load(write(tmp_path, family, {name: None}))


@pytest.mark.parametrize("family", ROUTERS)
def test_an_expert_of_another_shape_is_named(tmp_path: Path, family: str) -> None:
    name = f"model.layers.1.{ROUTERS[family].partition('.')[0]}.experts.1.up_proj.weight"
    with pytest.raises(PackageError, match=f"shape of tensor {name}"):
        nearlight.load(write(tmp_path, family, {name: np.zeros((32, 16 if family != "qwen3_moe" else 17), np.float32)}))


@pytest.mark.parametrize("shape", [(3, 32, 7), (2, 32, 2 * 96), (3, 32), (3, 0, 192), (5000, 1, 2)])
def test_stacked_experts_of_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """As Hugging Face keeps Llama 4's."""
    prefix = "model.layers.1.feed_forward.experts"
    own = {name: None for name in weights("llama4_text") if name.startswith(prefix) and "down" not in name}
    spoiled = {f"{prefix}.gate_up_proj": np.zeros(shape, np.float32)}
    with pytest.raises(PackageError, match=r"experts\.\d\.(gate|up)_proj\.weight"):
        nearlight.load(write(tmp_path, "llama4_text", own | spoiled))
