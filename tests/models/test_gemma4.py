"""What Gemma 4 has that no other family does: layers that keep nothing, and a table that stays in its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import nearlight
from nearlight import _native
from nearlight.counting.counted_model import CountedModel, Span
from nearlight.dtypes import BF16, F32, Q8_0
from nearlight.engine.engine import Engine
from nearlight.loading.backends import make_ops
from nearlight.loading.binding import load_model
from nearlight.models.catalogue import find_in_catalogue
from nearlight.models.weight_formats import requantization
from nearlight.package import open_package
from tests.models.random_models import CONFIGS, relative_error, transformers_logits, write_model

IDS = [int(i) for i in np.random.default_rng(3).integers(3, 103, 37)]
TABLE = "model.embed_tokens_per_layer.weight"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("gemma4")
    return path, write_model(path, CONFIGS["gemma4_text-all"])


@pytest.fixture
def engine(written: tuple[Path, Any]) -> Engine:
    return nearlight.load(written[0], threads=2, kv="f32").engine


def last_logits(engine: Engine, ids: list[int]) -> np.ndarray:
    sequence = engine.open()
    engine.extend(sequence, ids)
    return engine.logits(sequence)[-1]


def test_chunks_without_logits_change_nothing(engine: Engine) -> None:
    """Of them, layers that keep nothing have no rows at all."""
    sequence = engine.open()
    engine.extend(sequence, IDS)
    while not (found := engine.step([sequence], max_rows=7)):
        assert sequence.n_pending
    np.testing.assert_array_equal(found[sequence][-1], last_logits(engine, IDS))


def test_drafts_are_checked_all_at_once_and_forgotten(engine: Engine) -> None:
    sequence = engine.open()
    engine.extend(sequence, IDS[:20])
    engine.step([sequence])
    engine.extend(sequence, [IDS[20]])
    engine.draft(sequence, [IDS[21], 5, 6])
    checked = engine.step([sequence])[sequence]
    assert len(checked) == 4
    np.testing.assert_array_equal(checked[1], last_logits(engine, IDS[:22]))
    engine.rewind(sequence, 22)
    engine.extend(sequence, IDS[22:25])
    np.testing.assert_array_equal(engine.step([sequence])[sequence][-1], last_logits(engine, IDS[:25]))


def test_a_second_turn_computes_its_own_tokens_alone(engine: Engine) -> None:
    sequence = engine.open()
    engine.replace(sequence, IDS[:15])
    engine.logits(sequence)
    engine.replace(sequence, IDS[:30])
    assert sequence.computed == 15
    np.testing.assert_array_equal(engine.logits(sequence)[-1], last_logits(engine, IDS[:30]))


def test_a_prefill_needs_the_last_layers_for_its_logits_alone() -> None:
    model = CountedModel.of_config(find_in_catalogue("gemma-4-e2b").config, "w4")
    first, last = model.prefill(1024, chunk=512)
    own, shared = "model.layers.14.mlp.up_proj.weight", "model.layers.15.mlp.up_proj.weight"
    assert [step.by_name()[own].operations["int8"] for step in (first, last)] == [512 * 2 * 6144 * 1536] * 2
    assert [step.by_name()[shared].operations["int8"] for step in (first, last)] == [0, 2 * 12288 * 1536]
    assert first.by_name()[shared].weight_bytes == 0
    everywhere = model.step([Span(0, 512)], all_logits=True)
    assert everywhere.by_name()[shared].operations["int8"] == 512 * 2 * 12288 * 1536


def test_a_row_of_the_table_is_read_for_every_token() -> None:
    model = CountedModel.of_config(find_in_catalogue("gemma-4-e4b").config, "w4")
    row = 42 * 256 * 2
    assert model.file_bytes == 262144 * row
    assert model.decode(7).file_bytes == row
    assert model.prefill(100)[0].file_bytes == 100 * row
    assert model.weight_bytes < 2.8e9
    assert model.parameters.total - model.parameters.active == 262143 * row // 2


@pytest.mark.parametrize("weights", [None, "w8"])
def test_the_table_stays_in_the_file_as_it_is(written: tuple[Path, Any], weights: str | None) -> None:
    package = open_package(written[0])
    ops = make_ops("cpu", 1)
    model, _ = load_model(package, ops, requantization(weights))
    table = next(parameter for parameter in model.parameters() if parameter.is_table)
    assert (table.name, table.format) == (TABLE, F32)
    assert isinstance(table.value, _native.StoredTable)
    matrices = {parameter.format for parameter in model.parameters() if parameter.is_matrix}
    assert matrices == ({F32} if weights is None else {Q8_0})
    counted = CountedModel.of_package(package, weights)
    assert counted.file_bytes == 4 * 103 * 9 * 10


def test_a_synthetic_table_takes_a_row() -> None:
    from nearlight.bench.synthetic import random_tensor
    from nearlight.layers.parameters import Parameter

    tensor = random_tensor(Parameter("table", (1 << 30, 64), "table"), BF16)
    assert tensor.read().shape == (1 << 30, 128)


def test_published_configs_name_heads_in_another_way(written: tuple[Path, Any], tmp_path: Path) -> None:
    path, _ = written
    config = json.loads((path / "config.json").read_text())
    assert config.pop("per_layer_config").keys() == {"2", "5", "8"}
    config |= {"global_head_dim": 22, "num_global_key_value_heads": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(path / "model.safetensors")
    np.testing.assert_array_equal(nearlight.load(tmp_path).logits(IDS), nearlight.load(path).logits(IDS))


@pytest.mark.parametrize("name", ["gemma4_text", "gemma4_text-experts", "gemma4_text-all"])
def test_gguf_files_give_the_logits_of_their_model(tmp_path: Path, name: str) -> None:
    """Under the names that the gguf package gives, with what it has no names for as llama.cpp's converter writes it."""
    theirs = write_model(tmp_path, CONFIGS[name])
    path = write_gguf(tmp_path / "model.gguf", theirs)
    found = nearlight.load(path, kv="f32").logits(IDS)
    assert relative_error(found, transformers_logits(theirs, IDS)) <= 1e-4
    np.testing.assert_array_equal(found, nearlight.load(tmp_path, kv="f32").logits(IDS))


def write_gguf(path: Path, model: Any) -> Path:
    config = gguf_keys(model.config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA4, config["block_count"])
    writer = gguf.GGUFWriter(path, "gemma4")
    writer.add_layer_norm_rms_eps(1e-6)
    for key, value in config.items():
        if isinstance(value, list):
            writer.add_array(f"gemma4.{key}", value)
        elif isinstance(value, float):
            writer.add_float32(f"gemma4.{key}", value)
        else:
            writer.add_uint32(f"gemma4.{key}", value)
    for key, tensor in model.state_dict().items():
        given = {"router.scale": "ffn_gate_inp.scale", "router.per_expert_scale": "ffn_down_exps.scale"}
        layer, _, inside = key.removeprefix("model.layers.").partition(".")
        name = f"blk.{layer}.{given[inside]}" if inside in given else names.get_name(key, (".weight",))
        if key != "lm_head.weight":
            whole = name if name.endswith((".weight", ".scale")) else f"{name}.weight"
            writer.add_tensor(whole, np.ascontiguousarray(tensor.numpy()))
    turning = int(0.4 * 22 // 2)
    writer.add_tensor("rope_freqs.weight", np.float32([1.0] * turning + [1e30] * (11 - turning)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_keys(config: Any) -> dict[str, Any]:
    n_layers, n_shared = config.num_hidden_layers, config.num_kv_shared_layers
    slides = [kind == "sliding_attention" for kind in config.layer_types]
    wide = [config.intermediate_size * (1 + (i >= n_layers - n_shared)) for i in range(n_layers)]
    keys: dict[str, Any] = {
        "block_count": n_layers,
        "context_length": 96,
        "embedding_length": 42,
        "attention.head_count": 6,
        "attention.head_count_kv": [2 if window else 3 for window in slides] if config.attention_k_eq_v else 2,
        "feed_forward_length": wide if config.use_double_wide_mlp else config.intermediate_size,
        "attention.key_length": 22,
        "attention.value_length": 22,
        "attention.key_length_swa": 14,
        "attention.value_length_swa": 14,
        "attention.sliding_window": 5,
        "attention.sliding_window_pattern": slides,
        "attention.shared_kv_layers": n_shared,
        "embedding_length_per_layer_input": config.hidden_size_per_layer_input,
        "rope.freq_base": 7000.0,
        "rope.freq_base_swa": 500.0,
        "rope.dimension_count": 22,
        "rope.dimension_count_swa": 14,
    }
    if config.final_logit_softcapping:
        keys["final_logit_softcapping"] = config.final_logit_softcapping
    if config.enable_moe_block:
        keys |= {"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 13}
    return keys
