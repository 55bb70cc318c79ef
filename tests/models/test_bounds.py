"""No number of a config builds or allocates anything before the tensors have confirmed it, in any family."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from nearlight.errors import NearlightError, PackageError
from nearlight.kernels.count import CountOps
from nearlight.models import FAMILIES, build_model
from nearlight.models.config import Bounds

SIZES: dict[str, Any] = {
    "vocab_size": 103,
    "hidden_size": 42,
    "intermediate_size": 75,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 14,
    "max_position_embeddings": 96,
    "n_embd": 42,
    "n_head": 6,
    "n_layer": 3,
    "n_positions": 96,
    "use_sliding_window": True,
    "moe_intermediate_size": 30,
    "num_experts": 5,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "hybrid_override_pattern": "M*E",
    "mamba_n_heads": 6,
    "mamba_d_head": 14,
    "mamba_d_ssm": 84,
    "mamba_n_groups": 2,
}
LONG = {"factor": 4.0, "original_max_position_embeddings": 24}
ROPES: list[dict[str, Any]] = [
    {"rope_type": "default", "partial_rotary_factor": 1.0},
    {"rope_type": "linear", **LONG},
    {"rope_type": "dynamic", **LONG},
    {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **LONG},
    {"rope_type": "yarn", "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.7, **LONG},
    {"rope_type": "yarn", "attention_factor": 1.2, **LONG},
    {"rope_type": "divisors", "divisors": [1.0] * 7},
    {"rope_type": "proportional", "partial_rotary_factor": 0.25, "factor": 2.0},
]
EDGES: list[Any] = [
    0, 1, -1, 2**31 - 2, 2**31 - 1, 2**31, 2**32, 2**63, 10**400, 1e-45, 1e-320, 1e300, 0.1,
    float("nan"), float("inf"), True, "2147483646", "", None, [], [1], [[1], 2], {}, {"a": 1}, [2**31 - 2] * 3,
]  # fmt: skip
MOST_BYTES = 1 << 20


class Asked(Mapping[str, Any]):
    """A config that notes which of its keys were asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values_by_key, self.keys_asked = dict(values), set[str]()

    def __getitem__(self, key: str) -> Any:
        self.keys_asked.add(key)
        return self.values_by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_key)

    def __len__(self) -> int:
        return len(self.values_by_key)


def build(config: Mapping[str, Any], bounds: Bounds | None) -> Any:
    return build_model(CountOps(), config, bounds)


def peak_bytes(config: Mapping[str, Any], bounds: Bounds) -> int:
    """Return what building took at most, whether it came to an end or was refused."""
    line = ""
    tracemalloc.start()
    try:
        build(config, bounds)
    except NearlightError as error:
        line = str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(line) < 600
    return peak


@pytest.mark.parametrize("family", FAMILIES)
def test_no_number_costs_more_than_the_tensors(family: str) -> None:
    config = Asked(SIZES | {"model_type": family, "head_dim": 24})  # a half or a quarter of which some rotate
    bounds = Bounds.of(parameter.stored_shape for parameter in build(config, None).parameters())
    assert len(config.keys_asked) > 8
    for key in sorted(config.keys_asked):
        for value in EDGES:
            changed = {**config.values_by_key, key: value}
            assert peak_bytes(changed, bounds) < MOST_BYTES, f"{key}: {value!r:.40}"


@pytest.mark.parametrize("rope", ROPES, ids=lambda rope: "-".join(list(rope)[:3]))
def test_no_number_of_a_rotation_costs_more_than_the_head(rope: dict[str, Any]) -> None:
    bounds = Bounds.of(p.stored_shape for p in build(SIZES | {"model_type": "llama"}, None).parameters())
    build(SIZES | {"model_type": "llama", "rope_parameters": rope}, bounds)
    for key in ["rope_type", "rope_theta", *rope]:
        for value in EDGES:
            config = SIZES | {"model_type": "llama", "rope_parameters": {**rope, key: value}}
            assert peak_bytes(config, bounds) < MOST_BYTES, f"{key}: {value!r:.40}"


def test_what_is_beyond_the_tensors_is_named() -> None:
    bounds = Bounds.of([(103, 42), (75, 42), (42,), (2**40, 0), ()])
    assert (bounds.size, bounds.layers) == (103, 3)
    config = SIZES | {"model_type": "llama"}
    with pytest.raises(PackageError, match="intermediate_size: expected at most 103, the largest axis of its tensors"):
        build(config | {"intermediate_size": 104}, bounds)
    with pytest.raises(PackageError, match="num_hidden_layers: expected at most 3, the number of its tensors, found 4"):
        build(config | {"num_hidden_layers": 4}, bounds)
    with pytest.raises(PackageError, match="partial_rotary_factor: expected at most 1, found 2"):
        build(config | {"rope_parameters": {"partial_rotary_factor": 2}}, bounds)


def test_without_tensors_there_is_an_end_too() -> None:
    config = SIZES | {"model_type": "llama"}
    with pytest.raises(PackageError, match="num_hidden_layers: expected at most 10000, found 2147483647"):
        build(config | {"num_hidden_layers": 2**31 - 1}, None)
    with pytest.raises(PackageError, match="head_dim: expected at most 16777216"):
        build(config | {"head_dim": 2**31 - 1}, None)


def test_a_rounded_share_of_the_head_is_not_cut() -> None:
    model = build(
        SIZES | {"model_type": "llama", "head_dim": 44, "rope_parameters": {"partial_rotary_factor": 30 / 44}}, None
    )
    assert model.rope is not None
    assert len(model.rope.scaling.frequencies(1)) == 15
