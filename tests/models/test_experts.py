"""Families with mixtures of experts: their logits against transformers, on the reference kernels, and their counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import save_file

import nearlight
from nearlight.counting.counted_model import CountedModel, shape_tensor
from nearlight.dtypes import F16, F32, MXFP4, Q8_0
from nearlight.errors import PackageError, RequestError, UnsupportedError
from nearlight.kernels.count import CountOps
from nearlight.kernels.cpu import CpuOps
from nearlight.limits.hardware import find_hardware
from nearlight.loading import packed_model
from nearlight.models import build_model
from nearlight.package.package import Package
from nearlight.package.tensors import StoredTensor
from nearlight.plan import make_plan
from tests.models.decided_experts import decided_model
from tests.models.random_models import CONFIGS, SIZES, random_model, relative_error, transformers_logits, write_model

E, CHOSEN, M, F, L = 5, 2, 42, 13, 3
NAMES = ["gpt_oss", "mixtral", "qwen3_moe", "qwen3_moe-as-is"]
IDS = [3, 17, 55, 1, 99, 20, 7, 44, 8, 8, 12, 66, 31, 90, 5, 71, 2, 40, 63]


@pytest.fixture(scope="module", params=NAMES)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A package with a tensor for each expert, and the model it was written from."""
    path = tmp_path_factory.mktemp("model")
    return path, write_model(path, CONFIGS[request.param])


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_logits_are_those_of_transformers(written: tuple[Path, Any], backend: str) -> None:
    path, theirs = written
    found = nearlight.load(path, backend=backend).logits(IDS)
    assert relative_error(found, transformers_logits(theirs, IDS)) < 1e-5


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", [*NAMES, "glm4_moe", "llama4_text", "llama4_text-plain"])
def test_bf16_packages_stay_close(tmp_path: Path, name: str, backend: str) -> None:
    """To fp32 on the same weights, which transformers' own bf16 is further from."""
    theirs = decided_model(CONFIGS[name], IDS)
    theirs.save_pretrained(tmp_path)
    rounded, wanted = transformers_logits(theirs, IDS), transformers_logits(theirs.float(), IDS)
    error = relative_error(nearlight.load(tmp_path, backend=backend).logits(IDS), wanted)
    assert error < relative_error(rounded, wanted) < 2e-2


def test_experts_in_mxfp4_are_read_as_published(tmp_path: Path) -> None:
    """Codes and scales by their definition, in the layout of gpt-oss' own packages."""
    n_experts, hidden, inner = 3, 64, 96
    sizes = {**SIZES, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 1}
    config = transformers.GptOssConfig(**sizes, head_dim=16, num_local_experts=n_experts, num_experts_per_tok=2)
    theirs, rng = random_model(config), np.random.default_rng(3)
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    table = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    for name, n_out, n_in in (("gate_up_proj", 2 * inner, hidden), ("down_proj", hidden, inner)):
        blocks = rng.integers(0, 256, (n_experts, n_out, n_in // 32, 16), np.uint8)
        scales = rng.integers(120, 126, (n_experts, n_out, n_in // 32), np.uint8)
        codes = np.stack([blocks & 15, blocks >> 4], -1).reshape(*scales.shape, 32)
        values = table[codes & 7] * np.where(codes & 8, -1, 1) * np.exp2(scales.astype(np.float32) - 127)[..., None]
        key = f"model.layers.0.mlp.experts.{name}"
        plain = torch.from_numpy(values.reshape(n_experts, n_out, n_in).swapaxes(1, 2).astype(np.float32))
        theirs.state_dict()[key].copy_(plain)
        del state[key]
        state |= {f"{key}_blocks": blocks, f"{key}_scales": scales}
    save_file(state, tmp_path / "model.safetensors")
    described = config.to_dict() | {"quantization_config": {"quant_method": "mxfp4"}}
    (tmp_path / "config.json").write_text(json.dumps(described))
    found = nearlight.load(tmp_path, backend="reference", kv="f32")
    formats = {parameter.format for parameter in found.engine.model.parameters() if parameter.stack}
    assert formats == {MXFP4}
    assert relative_error(found.logits(IDS), transformers_logits(theirs, IDS)) < 1e-5
    error = relative_error(nearlight.load(tmp_path).logits(IDS), transformers_logits(theirs, IDS))
    assert error < 0.1  # activations of experts have 8 bits


@pytest.mark.parametrize("weights", [None, "w8"])
def test_rows_do_not_depend_on_company(written: tuple[Path, Any], weights: str | None) -> None:
    """Token by token, in chunks, and beside another sequence: the same bits."""
    engine = nearlight.load(written[0], weights=weights).engine
    whole, sequence, other = engine.open(), engine.open(), engine.open()
    engine.extend(whole, IDS)
    expected = engine.logits(whole)
    engine.extend(other, IDS[::-1])
    found = []
    for start, stop in ((0, 1), (1, 2), (2, 9), (9, len(IDS))):
        engine.extend(sequence, IDS[start:stop], n_logits=stop - start)
        found.append(engine.step([sequence, other], max_rows=stop - start + 3)[sequence])
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_packed_experts_are_kept_and_read_back(
    written: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEARLIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr(packed_model, "WORTH_S", 0.0)
    first = nearlight.load(written[0])
    assert first._kept is not None
    first._kept.finish()
    again = nearlight.load(written[0])
    assert again.packed_weights is not None
    assert again.packed_weights.state == packed_model.READ
    np.testing.assert_array_equal(again.logits(IDS), first.logits(IDS))


def test_missing_experts_are_named(tmp_path: Path) -> None:
    write_model(tmp_path, CONFIGS["qwen3_moe"])
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"num_experts": E + 1}))
    with pytest.raises(PackageError, match=r"shape of tensor model\.layers\.0\.mlp\.gate\.weight: expected \[6, 42\]"):
        nearlight.load(tmp_path)
    path.write_text(json.dumps(config | {"moe_intermediate_size": F - 1}))
    with pytest.raises(PackageError, match=r"shape of tensor model\.layers\.0\.mlp\.experts\.0\.gate_proj\.weight"):
        nearlight.load(tmp_path)


def config_of(name: str) -> dict[str, Any]:
    return {"norm_topk_prob": True, "sliding_window": None, **CONFIGS[name].to_dict()}


def counted(name: str, format: Any = F32) -> CountedModel:
    return CountedModel(config_of(name), lambda parameter: format)


def test_one_row_reads_the_experts_it_is_sent_to():
    experts = counted("qwen3_moe").decode(0).by_kind()["experts"]
    assert experts.expected
    assert experts.weight_bytes == L * CHOSEN * 3 * F * M * 4
    assert experts.operations["fp32"] == L * CHOSEN * 2 * 3 * F * M


def test_many_rows_are_expected_to_read_nearly_all_experts():
    model = counted("qwen3_moe")
    seven = model.prefill(7)[0].by_kind()["experts"]
    assert seven.weight_bytes == pytest.approx(L * E * (1 - (1 - CHOSEN / E) ** 7) * 3 * F * M * 4, abs=L)
    assert model.prefill(90)[0].by_kind()["experts"].weight_bytes == pytest.approx(L * E * 3 * F * M * 4, abs=L)


def test_only_the_chosen_experts_are_active():
    counts = counted("qwen3_moe").parameters
    assert counts.total - counts.active == L * (E - CHOSEN) * 3 * F * M
    dense_in_the_middle = counted("qwen3_moe-as-is").parameters
    assert dense_in_the_middle.total - dense_in_the_middle.active == (L - 1) * (E - CHOSEN) * 3 * F * M


@pytest.mark.parametrize(("name", "billions"), [("qwen3-30b-a3b", 3.35), ("qwen3-235b-a22b", 22.19)])
def test_active_parameters_are_the_published_ones(name, billions):
    assert make_plan(name, find_hardware("b200"), weights="w4").params.active / 1e9 == pytest.approx(billions, abs=0.01)


def test_experts_of_a_package_are_counted_in_the_bits_of_the_first():
    declared = {p.name.replace(".*.", ".0."): p.shape for p in counted("qwen3_moe").model.parameters()}
    shapes = {
        name: StoredTensor(name, Q8_0 if ".0.gate" in name else F16, shape, lambda: None)
        for name, shape in declared.items()
    }
    package = Package(source="small", kind="test", name="small", config=config_of("qwen3_moe"), tensors=shapes)
    experts = CountedModel.of_package(package).decode(0).by_kind()["experts"]
    assert experts.weight_bytes == L * CHOSEN * (F * 2 * 34 + (F * M + M * F) * 2)


def test_families_that_a_kernel_set_lacks_an_op_for_are_refused_there(planned_only: str):
    with pytest.raises(
        UnsupportedError,
        match=f"cannot run models of the family {planned_only} yet; it can plan them; it runs exaone4, falcon_h1",
    ):
        build_model(CpuOps(1), {"model_type": planned_only})


@pytest.mark.parametrize("name", NAMES)
def test_more_experts_than_there_are_cannot_be_chosen(name):
    with pytest.raises(PackageError, match="num_experts_per_tok: expected at most 5, found 6"):
        build_model(CountOps(), config_of(name) | {"num_experts_per_tok": 6})


def test_blog_convention_refuses_experts():
    with pytest.raises(RequestError, match="the blog convention knows no experts"):
        make_plan("qwen3-30b-a3b", "rtx4090", convention="blog")


def test_shapes_of_stacked_experts_are_matrices():
    parameter = next(p for p in counted("mixtral").model.parameters() if ".*.w2" in p.name)
    assert shape_tensor(parameter, F16).shape == (E * M, SIZES["intermediate_size"])
