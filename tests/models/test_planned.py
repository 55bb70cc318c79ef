"""Families that were planned before they ran: their parameters, and their logits where nothing is left out."""

from __future__ import annotations

from typing import Any

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
from tests.models.random_models import SIZES, random_model, relative_error, transformers_logits
from tests.models.test_experts import CONFIGS as EXPERTS
from tests.models.test_experts import bind_state
from tests.models.test_mamba import CONFIGS as RECURRENT

PADDED = {**SIZES, "pad_token_id": 0}
GEMMA: dict[str, Any] = {
    **SIZES,
    "num_hidden_layers": 7,
    "head_dim": 14,
    "sliding_window": 5,
    "query_pre_attn_scalar": 9,
}

CONFIGS: dict[str, Any] = {
    "gemma2": transformers.Gemma2Config(**GEMMA),
    "gemma3_text": transformers.Gemma3TextConfig(**GEMMA),
    "gpt_oss": transformers.GptOssConfig(
        **SIZES, head_dim=14, num_local_experts=5, num_experts_per_tok=2, sliding_window=5
    ),
    "granite": transformers.GraniteConfig(**{**SIZES, "hidden_size": 36}),
    "olmo2": transformers.Olmo2Config(**{**SIZES, "hidden_size": 36}),
    "phi3": transformers.Phi3Config(**{**PADDED, "hidden_size": 36}, sliding_window=4),
    "smollm3": transformers.SmolLM3Config(**{**PADDED, "hidden_size": 36, "num_hidden_layers": 5}),
}
EXACT = ("olmo2", "phi3", "smollm3")
IDS = [3, 17, 55, 1, 99, 20, 7]


def test_every_planned_family_is_compared():
    compared = {config.model_type for config in (*EXPERTS.values(), *RECURRENT.values())}
    assert CONFIGS.keys() | compared >= FAMILIES.keys() - set(RUNNABLE)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "gpt_oss"])
def test_parameters_are_those_of_transformers(name):
    theirs = {key: tuple(value.shape) for key, value in random_model(CONFIGS[name]).state_dict().items()}
    if CONFIGS[name].tie_word_embeddings:
        del theirs["lm_head.weight"]
    model = build_model(CountOps(), CONFIGS[name].to_dict())
    assert {parameter.name: parameter.stored_shape for parameter in model.parameters()} == theirs


def test_parameters_of_gpt_oss_are_as_many_as_in_transformers():
    """There gate and up of all experts are one tensor, its columns in turns."""
    theirs = random_model(CONFIGS["gpt_oss"]).state_dict()
    model = build_model(CountOps(), CONFIGS["gpt_oss"].to_dict())
    assert sum(parameter.size for parameter in model.parameters()) == sum(v.numel() for v in theirs.values())
    experts = [parameter for parameter in model.parameters() if parameter.role == "expert"]
    assert sum(p.size for p in experts) == sum(v.numel() for key, v in theirs.items() if ".experts." in key)


@pytest.mark.parametrize("name", EXACT)
def test_logits_are_those_of_transformers(name):
    reference = random_model(CONFIGS[name])
    ops = ReferenceOps()
    model = FAMILIES[name](ops, ConfigReader(CONFIGS[name].to_dict()))
    bind_state(model, ops, reference.state_dict())
    engine = Engine(model, ops, kv_format=F32)
    sequence = engine.open()
    engine.extend(sequence, IDS)
    assert relative_error(engine.logits(sequence), transformers_logits(reference, IDS)) < 1e-4


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
