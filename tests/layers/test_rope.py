"""Rotary frequencies against transformers, kind by kind."""

import numpy as np
import pytest
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from nearlight.errors import PackageError, UnsupportedError
from nearlight.layers.rope import rope_scaling

HEAD_DIM = 22
KINDS = [
    {"rope_type": "linear", "factor": 3.0},
    {"rope_type": "dynamic", "factor": 2.5},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512,
    },
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "mscale": 0.7, "mscale_all_dim": 1.0},
    {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 128, "truncate": False},
    {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 512, "attention_factor": 1.3},
    {"rope_type": "proportional", "partial_rotary_factor": 0.4},
    {"rope_type": "proportional", "partial_rotary_factor": 1.0, "factor": 2.0},
]


@pytest.mark.parametrize("length", [1, 1024, 3000])
@pytest.mark.parametrize("parameters", KINDS, ids=lambda p: "-".join(str(v) for v in p.values()))
def test_frequencies_and_magnitude(parameters: dict, length: int) -> None:
    parameters = {"rope_theta": 5000.0, **parameters}
    config = transformers.LlamaConfig(
        hidden_size=4 * HEAD_DIM, num_attention_heads=4, max_position_embeddings=1024, rope_parameters=dict(parameters)
    )
    wanted, magnitude = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, "cpu", seq_len=length)
    scaling = rope_scaling(parameters, HEAD_DIM, 1024)
    np.testing.assert_allclose(scaling.frequencies(length), wanted.numpy(), rtol=1e-6)
    assert scaling.magnitude == pytest.approx(magnitude)


def test_divisors_are_what_gguf_stores_for_llama3() -> None:
    plain = rope_scaling({"rope_theta": 5000.0}, 6, 99).frequencies(1)
    scaling = rope_scaling({"rope_type": "divisors", "rope_theta": 5000.0, "divisors": [1.0, 2.5, 8.0]}, 6, 99)
    np.testing.assert_allclose(scaling.frequencies(50), plain / [1.0, 2.5, 8.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"rope_type": "linear"}, "factor"),
        ({"rope_type": "linear", "factor": float("nan")}, "factor"),
        ({"rope_type": "linear", "factor": -1}, "factor"),
        ({"rope_type": "divisors", "divisors": [1.0]}, "divisors"),
        ({"rope_theta": "big"}, "rope_theta"),
        ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0}, "original_max"),
    ],
)
def test_senseless_numbers_are_named(parameters: dict, named: str) -> None:
    with pytest.raises(PackageError, match=named):
        rope_scaling(parameters, HEAD_DIM, 1024)


def test_unknown_kind_lists_the_known() -> None:
    with pytest.raises(UnsupportedError, match=r"yarn.*found helix"):
        rope_scaling({"rope_type": "helix"}, HEAD_DIM, 1024)
