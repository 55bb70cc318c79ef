"""Packages whose container is sound: the fault is met when the model is bound or used, and still is one line."""

import json
from pathlib import Path
from typing import Any

import pytest

import nearlight
from nearlight.errors import NearlightError, PackageError
from tests.attacks import hybrids, models
from tests.attacks.sound import LLAMA_CONFIG, write_sound_directory

FAULTS = [
    (models.write_config_shapes_disagree, "by its config"),
    (models.write_gguf_shapes_disagree, "by its config"),
    (models.write_config_more_layers_than_tensors, "num_hidden_layers: expected at most 12, the number of its tensors"),
    (models.write_gguf_more_layers_than_tensors, "num_hidden_layers: expected at most 12, the number of its tensors"),
    (models.write_config_head_beyond_the_tensors, "head_dim: expected at most 96, the largest axis of its tensors"),
    (models.write_config_unknown_family, "perceptron"),
    (models.write_gguf_unknown_family, "perceptron"),
    (models.write_tensor_missing, "up_proj.weight is missing"),
    (models.write_nan_weights, "found nan for token"),
    (models.write_gguf_nan_scales, "NaN"),
]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(("write", "message"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_one_line(tmp_path: Path, write: models.Writer, message: str, backend: str) -> None:
    source = write(tmp_path)
    with pytest.raises(NearlightError, match=message) as caught:
        nearlight.load(source, backend=backend).generate([1, 2, 3], max_tokens=2)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(("family", "changes", "message"), hybrids.FAULTS, ids=lambda value: str(value)[:40])
def test_hybrids_that_contradict_themselves(tmp_path: Path, family: str, changes: dict[str, Any], message: str) -> None:
    source = hybrids.write_spoiled(tmp_path / "model", family, changes)
    with pytest.raises(NearlightError, match=message) as caught:
        nearlight.load(source).generate([1, 2, 3], max_tokens=2)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("n_experts", "message"),
    [
        (2, r"tensor model\.layers\.0\.block_sparse_moe\.experts\.2\.gate_proj\.weight is missing"),
        (4, r"tensor .*\.experts\.3\.gate_proj\.weight: expected 3 experts, by its config, found more"),
    ],
)
def test_more_or_fewer_experts_than_the_router_has(tmp_path: Path, n_experts: int, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        nearlight.load(hybrids.write_experts(tmp_path / "model", n_experts))


@pytest.mark.parametrize("family", ["lfm2", "nemotron_h", "falcon_h1", "granitemoehybrid"])
def test_the_sound_hybrids_they_were_made_from_answer(tmp_path: Path, family: str) -> None:
    source = hybrids.write_spoiled(tmp_path / "model", family, {})
    assert nearlight.load(source).generate([1, 2, 3], max_tokens=2).token_ids


def test_names_cannot_steer_a_terminal() -> None:
    assert str(NearlightError("tensor \x1b[2Jevil\nname")) == "tensor \ufffd[2Jevil name"


def test_a_line_stays_a_line_whatever_a_name_is() -> None:
    line = str(
        NearlightError("x" * 10**5, where="model.gguf", expected="y" * 10**5, found="z" * 10**5, advice="mend it")
    )
    assert len(line) < 2000
    assert line.startswith("model.gguf: xxx")
    assert line.endswith("z…; mend it")


HUGE = 10**400  # JSON has integers that no float can hold


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("generation_config.json", {"do_sample": True, "temperature": HUGE}, "temperature: expected a number"),
        ("generation_config.json", {"repetition_penalty": HUGE}, "repetition_penalty: expected a number"),
        ("config.json", LLAMA_CONFIG | {"rms_norm_eps": HUGE}, "rms_norm_eps: expected a positive number"),
        ("config.json", LLAMA_CONFIG | {"rope_theta": HUGE}, "rope_theta: expected a number above 0"),
        ("config.json", LLAMA_CONFIG | {"rope_theta": {"__float__": HUGE}}, "not valid JSON"),
        ("config.json", LLAMA_CONFIG | {"rope_theta": 1e-320}, "numbers that give finite frequencies"),
        ("config.json", LLAMA_CONFIG | {"rope_scaling": {"type": "yarn", "factor": 1e-320}}, "finite frequencies"),
    ],
)
def test_numbers_beyond_floats_are_named(tmp_path: Path, name: str, content: dict[str, Any], message: str) -> None:
    (write_sound_directory(tmp_path) / name).write_text(json.dumps(content))
    with pytest.raises(NearlightError, match=message):
        nearlight.load(tmp_path, threads=1).generate([1, 2, 3], max_tokens=2)


def test_any_number_of_best_tokens_may_be_asked_for(tmp_path: Path) -> None:
    generation = {"do_sample": True, "top_k": 2**64}
    (write_sound_directory(tmp_path) / "generation_config.json").write_text(json.dumps(generation))
    assert nearlight.load(tmp_path, threads=1).generate([1, 2, 3], max_tokens=2).token_ids
