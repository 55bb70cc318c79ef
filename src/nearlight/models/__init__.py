"""Model families: one file each, named by its `model_type`, giving `build(ops, config) -> Decoder`.

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

Family: TypeAlias = Callable[[Ops, Mapping[str, Any]], Decoder]

FAMILIES: dict[str, Family] = {
    "gpt2": gpt2.build,
    "llama": llama.build,
    "qwen2": qwen2.build,
    "qwen3": qwen3.build,
}

COUNTED_FAMILIES: dict[str, Callable[[ExpertOps, Mapping[str, Any]], Decoder]] = {
    "mixtral": mixtral.build,
    "qwen3_moe": qwen3_moe.build,
}
"""Families that can be planned, and not run yet."""


def build_counted(ops: ExpertOps, config: Mapping[str, Any]) -> Decoder:
    """Declare a model for planning: of any family that runs, or of one that can only be counted so far.

    Raises: as `build_model`.
    """
    build = COUNTED_FAMILIES.get(str(config.get("model_type")))
    return build(ops, config) if build else build_model(ops, config)


def build_model(ops: Ops, config: Mapping[str, Any]) -> Decoder:
    """Declare the model that a config describes; its parameters are still to be bound.

    Raises: UnsupportedError for a family that is not written; PackageError for senseless sizes.
    """
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise UnsupportedError(
            "model_type",
            where="config.json",
            expected="one of " + ", ".join(sorted(FAMILIES)),
            found=repr(model_type),
        )
    return FAMILIES[model_type](ops, config)
