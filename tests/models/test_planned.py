"""Families that were planned before they ran: their parameters, and their logits where nothing is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import transformers

from nearlight.dtypes import F32
from nearlight.engine.engine import Engine
from nearlight.errors import PackageError
from nearlight.kernels.count import CountOps
from nearlight.kernels.reference import ReferenceOps
from nearlight.layers.attention import Attention
from nearlight.models import FAMILIES, RUNNABLE, build_model
from nearlight.models.config import ConfigReader
from nearlight.package.tensors import StoredTensor
from tests.models import random_models

CONFIGS: dict[str, Any] = {
    **{name: random_models.CONFIGS[name] for name in ("gemma2", "gemma3_text", "gpt_oss", "olmo2", "smollm3")},
    "phi3": transformers.Phi3Config(**{**random_models.SIZES, "hidden_size": 36, "pad_token_id": 0}, sliding_window=4),
}
IDS = [3, 17, 55, 1, 99, 20, 7]


def test_every_planned_family_is_compared():
    assert CONFIGS.keys() >= FAMILIES.keys() - set(RUNNABLE)


def test_parameters_are_those_of_transformers():
    theirs = {
        key: tuple(value.shape) for key, value in random_models.random_model(CONFIGS["phi3"]).state_dict().items()
    }
    model = build_model(CountOps(), CONFIGS["phi3"].to_dict())
    assert {parameter.name: parameter.stored_shape for parameter in model.parameters()} == theirs


def test_logits_are_those_of_transformers():
    """Where nothing is left out."""
    reference, ops = random_models.random_model(CONFIGS["phi3"]), ReferenceOps()
    model, state = FAMILIES["phi3"](ops, ConfigReader(CONFIGS["phi3"].to_dict())), reference.state_dict()
    for parameter in model.parameters():
        values = state[parameter.name].float().contiguous().numpy()
        data = values.reshape(-1, values.shape[-1]).view(np.uint8)
        parameter.bind(ops, StoredTensor.from_bytes(parameter.name, F32, parameter.stored_shape, data))
    engine = Engine(model, ops, kv_format=F32)
    sequence = engine.open()
    engine.extend(sequence, IDS)
    expected = random_models.transformers_logits(reference, IDS)
    assert random_models.relative_error(engine.logits(sequence), expected) < 1e-4


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("gemma2", [5, None, 5, None, 5, None, 5]),
        ("gemma3_text", [5, 5, 5, 5, 5, None, 5]),
        ("gpt_oss", [5, None, 5]),
        ("phi3", [4, 4, 4]),
        ("olmo2", [None, None, None]),
    ],
)
def test_windows_are_in_the_layers_that_have_them(name, windows):
    config = CONFIGS[name].to_dict()
    for told in (config, {key: value for key, value in config.items() if key != "layer_types"}):
        model = build_model(CountOps(), told)
        assert [layer.kv.window for layer in model.declared(Attention)] == windows


def test_a_stretched_rotation_counts_as_a_plain_one():
    plain = CONFIGS["phi3"].to_dict()
    stretched = plain | {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}
    counts = [build_model(CountOps(), config).rope.scaling for config in (plain, stretched)]
    assert len(counts[0].frequencies(9)) == len(counts[1].frequencies(9))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("smollm3", {"no_rope_layers": [1, 0]}, "no_rope_layers: expected 5 of 0 and 1"),
        ("gemma2", {"layer_types": ["full_attention"]}, "layer_types: expected a list of 7"),
        ("gpt_oss", {"layer_types": "full"}, "layer_types: expected a list of str"),
    ],
)
def test_senseless_layers_are_refused(name, change, message):
    with pytest.raises(PackageError, match=message):
        build_model(CountOps(), CONFIGS[name].to_dict() | change)
