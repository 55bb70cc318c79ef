"""Gemma 4's configs say much that must fit together: what does not is one line, when the model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import nearlight
from nearlight.errors import NearlightError
from nearlight.package import open_package
from tests.attacks import families, sound

SLIDING, FULL = "sliding_attention", "full_attention"
FAULTS: list[tuple[dict[str, Any], str]] = [
    (
        {"vocab_size_per_layer_input": 295},
        r"vocab_size_per_layer_input: expected at least vocab_size \(296\)",
    ),
    ({"vocab_size_per_layer_input": 297}, "vocab_size_per_layer_input: expected at most 296"),
    ({"hidden_size_per_layer_input": 9}, r"shape of tensor .*: expected \[.*\], by its config, found"),
    ({"num_kv_shared_layers": 6}, "num_kv_shared_layers: expected so many that a layer of each kind is left"),
    ({"num_kv_shared_layers": 5}, "num_kv_shared_layers: expected so many that a layer of each kind is left"),
    ({"num_kv_shared_layers": 4}, "num_kv_shared_layers: expected so many that a layer of each kind is left"),
    ({"num_kv_shared_layers": -1}, "num_kv_shared_layers: expected a positive integer"),
    ({"sliding_window": 0}, "sliding_window: expected a positive integer, found 0"),
    ({"layer_types": [SLIDING, FULL]}, "layer_types: expected a list of 5"),
    (
        {"layer_types": [SLIDING, "linear_attention", FULL, FULL, FULL]},
        "layer_types: expected a list of full_att",
    ),
    ({"per_layer_config": {"x": {}}}, "per_layer_config: expected keys from 0 to 4, found 'x'"),
    ({"per_layer_config": {"5": {}}}, "per_layer_config: expected keys from 0 to 4, found '5'"),
    ({"per_layer_config": {"1": {"hidden_size": 64}}}, "per_layer_config: 1: expected an object of head_dim and"),
    ({"per_layer_config": {"1": {"head_dim": "wide"}}}, "per_layer_config: 1: expected an object of head_dim and"),
    ({"per_layer_config": {"1": 24}}, "per_layer_config: 1: expected an object of head_dim and"),
    ({"per_layer_config": [24]}, "per_layer_config: expected an object"),
    (
        {"per_layer_config": {"1": {"head_dim": 24}}},
        "per_layer_config: expected heads of one size in all layers",
    ),
    ({"per_layer_config": {}}, r"shape of tensor .*: expected \[.*\], by its config, found"),
    ({"per_layer_config": {"1": {"num_key_value_heads": 3}}}, "expected a multiple of num_key_value_heads"),
    ({"global_head_dim": 23}, "head_dim: expected a positive even number, found 23"),
    ({"global_head_dim": 0}, "global_head_dim: expected a positive integer"),
    ({"top_k_experts": 4}, "top_k_experts: expected at most 3, found 4"),
    ({"num_experts": None}, "num_experts is missing"),
    (
        {"rope_parameters": {FULL: {"rope_type": "default"}}},
        "rope_parameters: expected those of full_attention",
    ),
    ({"use_bidirectional_attention": "all"}, "use_bidirectional_attention: expected null or vision, found all"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS, ids=lambda value: str(value)[:60])
def test_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    parts = families.sound_parts("gemma4_text-directory")
    parts.documents["config.json"] |= change
    families.write(parts.contents(), tmp_path / "model")
    with pytest.raises(NearlightError, match=message) as caught:
        nearlight.load(tmp_path / "model", threads=1)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_table_that_is_too_short_is_not_looked_up_in(tmp_path: Path) -> None:
    parts = families.sound_parts("gemma4_text-directory")
    tensors = families.tensors_of("gemma4_text")
    tensors["model.embed_tokens_per_layer.weight"] = tensors["model.embed_tokens_per_layer.weight"][:-1]
    parts.files["model.safetensors"] = sound.safetensors_bytes(tensors)
    families.write(parts.contents(), tmp_path / "model")
    with pytest.raises(NearlightError, match=r"embed_tokens_per_layer.weight: expected \[296, 40\], by its config"):
        nearlight.load(tmp_path / "model", threads=1)


def test_the_sound_one_runs(tmp_path: Path) -> None:
    families.write(families.sound_parts("gemma4_text-directory").contents(), tmp_path / "model")
    answer = nearlight.load(tmp_path / "model", threads=1).generate([1, 2, 3], max_tokens=2)
    assert answer.text is not None


GGUF_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"attention.sliding_window_pattern": [True, False]}, "expected 5 truth values, found an array of 2"),
    ({"attention.sliding_window_pattern": [1, 0, 1, 0, 0]}, "expected 5 truth values, found an array of 5"),
    ({"feed_forward_length": [96, 96, 192]}, "expected 5 whole numbers, one for each layer, found an array of 3"),
    ({"feed_forward_length": [96, 96, 96, 96, 192]}, "feed_forward_length: expected one width, or twice that"),
    ({"attention.head_count_kv": [2, 1, 2, 2, 1]}, "head_count_kv: expected one number for each kind of layer"),
    ({"attention.shared_kv_layers": 6}, "shared_kv_layers.*: expected a whole number from 0 to 5, found 6"),
]


@pytest.mark.parametrize(("change", "message"), GGUF_FAULTS, ids=lambda value: str(value)[:60])
def test_one_line_of_a_gguf_file(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    sizes: dict[str, Any] = {
        "block_count": 5, "context_length": 96, "embedding_length": 32, "attention.head_count": 4,
        "attention.head_count_kv": [2, 1, 2, 1, 1], "feed_forward_length": [96, 96, 96, 192, 192],
        "attention.key_length": 24, "attention.value_length": 24, "attention.key_length_swa": 16,
        "attention.value_length_swa": 16, "attention.sliding_window": 24, "attention.shared_kv_layers": 2,
        "attention.sliding_window_pattern": [True, False, True, False, False], "embedding_length_per_layer_input": 8,
        "rope.freq_base": 1e6,
    }  # fmt: skip
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "gemma4")
    writer.add_layer_norm_rms_eps(1e-6)
    for key, value in (sizes | change).items():
        if isinstance(value, list):
            writer.add_array(f"gemma4.{key}", value)
        elif isinstance(value, float):
            writer.add_float32(f"gemma4.{key}", value)
        else:
            writer.add_uint32(f"gemma4.{key}", value)
    writer.add_tensor("token_embd.weight", np.zeros((296, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(NearlightError, match=message):
        nearlight.load(open_package(path).source, threads=1)
