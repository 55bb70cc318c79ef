"""Model families: one file each, named by its `model_type`, giving `build(ops, config) -> Decoder`.

A family is given a `ConfigReader`, whose sizes the tensors have confirmed before anything is built by them.

To add a family, write its file and name it in `FAMILIES`; in `COUNTED_FAMILIES` while only the counting and reference
kernels have all its operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from nearlight.errors import UnsupportedError
from nearlight.kernels.ops import ExpertOps, Ops
from nearlight.layers.decoder import Decoder
from nearlight.models import gpt2, llama, mixtral, qwen2, qwen3, qwen3_moe
from nearlight.models.config import Bounds, ConfigReader, shown

Family: TypeAlias = Callable[[Ops, ConfigReader], Decoder]

FAMILIES: dict[str, Family] = {
    "gpt2": gpt2.build,
    "llama": llama.build,
    "qwen2": qwen2.build,
    "qwen3": qwen3.build,
}

COUNTED_FAMILIES: dict[str, Callable[[ExpertOps, ConfigReader], Decoder]] = {
    "mixtral": mixtral.build,
    "qwen3_moe": qwen3_moe.build,
}
"""Families that can be planned, and not run yet."""


def build_counted(ops: ExpertOps, config: Mapping[str, Any], bounds: Bounds | None = None) -> Decoder:
    """Declare a model for planning: of any family that runs, or of one that can only be counted so far.

    Raises: as `build_model`.
    """
    build = COUNTED_FAMILIES.get(str(config.get("model_type")))
    return build(ops, ConfigReader(config, bounds=bounds)) if build else build_model(ops, config, bounds)


def build_model(ops: Ops, config: Mapping[str, Any], bounds: Bounds | None = None) -> Decoder:
    """Declare the model that a config describes; its parameters are still to be bound.

    `bounds` are what the tensors show that it will be bound to; without any, what no model reaches.
    Raises: UnsupportedError for a family that is not written; PackageError for senseless sizes.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise UnsupportedError(
            "model_type",
            where="config.json",
            expected="one of " + ", ".join(sorted(FAMILIES)),
            found=shown(model_type),
        )
    return FAMILIES[model_type](ops, ConfigReader(config, bounds=bounds))
