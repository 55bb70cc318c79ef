"""Families with mixtures of experts: their logits against transformers, on the reference kernels, and their counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from nearlight.counting.counted_model import CountedModel, shape_tensor
from nearlight.dtypes import F16, F32, Q8_0
from nearlight.engine.engine import Engine
from nearlight.errors import PackageError, RequestError, UnsupportedError
from nearlight.kernels.count import CountOps
from nearlight.kernels.cpu import CpuOps
from nearlight.kernels.reference import ReferenceOps
from nearlight.limits.hardware import find_hardware
from nearlight.models import FAMILIES, RUNNABLE, build_model
from nearlight.models.model import Model
from nearlight.package.package import Package
from nearlight.package.tensors import StoredTensor
from nearlight.plan import make_plan
from tests.models.random_models import SIZES, random_model, relative_error, transformers_logits

E, CHOSEN, M, F, L = 5, 2, 42, 13, 3

CONFIGS: dict[str, Any] = {
    "qwen3_moe": transformers.Qwen3MoeConfig(
        **SIZES, head_dim=14, num_experts=E, num_experts_per_tok=CHOSEN, moe_intermediate_size=F, norm_topk_prob=True
    ),
    "qwen3_moe-as-is": transformers.Qwen3MoeConfig(
        **SIZES,
        head_dim=14,
        num_experts=E,
        num_experts_per_tok=CHOSEN,
        moe_intermediate_size=F,
        norm_topk_prob=False,
        mlp_only_layers=[1],
    ),
    "mixtral": transformers.MixtralConfig(
        **SIZES, head_dim=14, num_local_experts=E, num_experts_per_tok=CHOSEN, sliding_window=None
    ),
}


def config_of(name: str) -> dict[str, Any]:
    config = CONFIGS[name].to_dict()
    return {"norm_topk_prob": True, "sliding_window": None, **config}


def bind_state(model: Model, ops: ReferenceOps, state: dict[str, torch.Tensor]) -> None:
    """Give parameters transformers' values; there the experts are stacked, gate and up as one."""
    for parameter in model.parameters():
        values = value_of(parameter.name, state).float().reshape(parameter.stored_shape).contiguous().numpy()
        data = values.reshape(-1, values.shape[-1]).view(np.uint8)
        parameter.bind(ops, StoredTensor.from_bytes(parameter.name, F32, parameter.stored_shape, data))


def value_of(name: str, state: dict[str, torch.Tensor]) -> torch.Tensor:
    name = name.replace("block_sparse_moe", "mlp")
    if ".*." not in name:
        return state[name]
    layer, kind = name.split(".*.")
    if kind in ("down_proj.weight", "w2.weight"):
        return state[f"{layer}.down_proj"]
    gate, up = state[f"{layer}.gate_up_proj"].chunk(2, dim=1)
    return gate if kind in ("gate_proj.weight", "w1.weight") else up


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_transformers(name):
    reference = random_model(CONFIGS[name])
    reference.set_experts_implementation("eager")  # the grouped product wants sizes that are multiples of 4
    ops = ReferenceOps()
    model = build_model(ops, config_of(name))
    bind_state(model, ops, reference.state_dict())
    ids = [3, 17, 55, 1, 99, 20, 7]
    engine = Engine(model, ops, kv_format=F32)
    sequence = engine.open()
    engine.extend(sequence, ids)
    assert relative_error(engine.logits(sequence), transformers_logits(reference, ids)) < 1e-4


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


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - set(RUNNABLE)))
def test_families_that_a_kernel_set_lacks_an_op_for_are_refused_there(family):
    with pytest.raises(
        UnsupportedError, match=f"cannot run models of the family {family} yet; it can plan them; it runs gpt2, llama"
    ):
        build_model(CpuOps(1), {"model_type": family})


def test_more_experts_than_there_are_cannot_be_chosen():
    with pytest.raises(PackageError, match="num_experts_per_tok: expected at most 5, found 6"):
        build_model(CountOps(), config_of("qwen3_moe") | {"num_experts_per_tok": 6})


def test_blog_convention_refuses_experts():
    with pytest.raises(RequestError, match="the blog convention knows no experts"):
        make_plan("qwen3-30b-a3b", "rtx4090", convention="blog")


def test_shapes_of_stacked_experts_are_matrices():
    parameter = next(p for p in counted("mixtral").model.parameters() if ".*.w2" in p.name)
    assert shape_tensor(parameter, F16).shape == (E * M, SIZES["intermediate_size"])
