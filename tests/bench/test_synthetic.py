"""Random weights: of the right size in memory, of a usual size as numbers, in every format."""

from __future__ import annotations

import numpy as np
import pytest

from nearlight import dtypes
from nearlight.bench.model import synthetic, target_of
from nearlight.bench.synthetic import formats_named, random_rows, random_tensor
from nearlight.dtypes import Format
from nearlight.errors import RequestError, UnsupportedError
from nearlight.formats import dequantize
from nearlight.layers.parameters import Parameter
from tests.bench.tiny import CONFIG, GPT2, tiny


@pytest.mark.parametrize("format", dtypes.ALL, ids=str)
def test_values_are_of_a_usual_size(format: Format) -> None:
    rows = random_rows(format, 37, 512)
    values = dequantize(format, rows, 512)
    assert rows.shape == (37, format.row_bytes(512))
    assert 0.01 < values.std() < 0.1
    assert np.abs(values).max() < 1
    assert abs(values.mean()) < 0.02


@pytest.mark.parametrize("format", [dtypes.BF16, dtypes.Q4_0, dtypes.Q6_K], ids=str)
def test_rows_differ_and_are_the_same_every_time(format: Format) -> None:
    rows = random_rows(format, 64, 1024)
    assert len(np.unique(rows, axis=0)) == 64
    assert (rows == random_rows(format, 64, 1024)).all()


def test_norms_are_ones_and_biases_zeros() -> None:
    norm = random_tensor(Parameter("model.norm.weight", (7,), "norm"), dtypes.Q4_0)
    bias = random_tensor(Parameter("a.bias", (5,), "mlp"), dtypes.Q4_0)
    assert dequantize(norm.format, norm.read(), 7).tolist() == [[1.0] * 7]
    assert dequantize(bias.format, bias.read(), 5).tolist() == [[0.0] * 5]


def test_formats_go_by_both_kinds_of_names() -> None:
    embedding, matrix = Parameter("wte.weight", (3, 2), "embedding"), Parameter("x.q_proj.weight", (3, 2), "attention")
    assert formats_named("w4").format_of(matrix) is dtypes.Q4_0
    assert formats_named("w4").format_of(embedding) is dtypes.Q6_K
    assert formats_named("q4_k").format_of(matrix) is dtypes.Q4_K
    assert formats_named("Q4_K").format_of(embedding) is dtypes.Q4_K
    with pytest.raises(RequestError, match=r"weights: expected one of bf16, w8.*iq4_xs.*found 'w3'"):
        formats_named("w3")


@pytest.mark.parametrize(
    "weights", ["bf16", "w8", "w6", "w4", "q4_k", "q5_1", "mxfp4", "iq4_xs", "w4g64", "w8g128", "f32"]
)
def test_a_model_of_random_weights_computes_and_takes_what_was_counted(weights: str) -> None:
    model = tiny(weights)
    engine = model.engine(1)
    sequence = engine.open()
    engine.extend(sequence, [3, 1, 4, 1, 5])
    logits = engine.logits(sequence)
    assert np.isfinite(logits).all()
    assert (logits.std(axis=1) > 1e-3).all()
    matrices = {id(value): value.n_bytes for p in engine.model.parameters() if p.is_matrix for value in p.values}
    vectors = sum(4 * p.size for p in engine.model.parameters() if not p.is_matrix)
    assert sum(matrices.values()) + vectors == model.counted(target_of(engine)).weight_bytes


def test_fused_projections_are_made_too() -> None:
    engine = tiny("w8", GPT2).engine(1)
    sequence = engine.open()
    engine.extend(sequence, [0, 159])
    assert engine.logits(sequence).shape == (2, 160)


def test_a_catalogue_name_a_directory_and_a_file_are_understood(tmp_path_factory: pytest.TempPathFactory) -> None:
    import json

    directory = tmp_path_factory.mktemp("x") / "My-Model"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG))
    assert synthetic("qwen3-0.6b", "w8").config["num_hidden_layers"] == 28
    assert synthetic(str(directory)).name == "My-Model (synthetic)"
    assert synthetic(str(directory / "config.json")).config == CONFIG


@pytest.mark.parametrize("text", ["[]", "{", None])
def test_a_config_that_cannot_be_read_is_named(text: str | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("x") / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RequestError, match=r"config\.json: config"):
        synthetic(str(path))


def test_unknown_families_and_caches_are_refused(planned_only: str) -> None:
    with pytest.raises(UnsupportedError, match="neither run nor plan models of the family mamba9"):
        tiny(model_type="mamba9").engine(1)
    with pytest.raises(UnsupportedError, match="cannot run models of the family phi3 yet; it can plan them"):
        synthetic("phi-4-mini")
    with pytest.raises(RequestError, match="kv: expected one of f16, q8, f32, found 'q2'"):
        synthetic("qwen3-0.6b", kv="q2")
