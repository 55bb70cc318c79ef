"""Model families: one file each, named by its `model_type`, giving `build(ops, config) -> Decoder`.

A family is given a `ConfigReader`, whose sizes the tensors have confirmed before anything is built by them.

To add a family, write its file and name it in `FAMILIES`; in `COUNTED_FAMILIES` while it can be planned only: the CPU
kernels lack one of its operations, or its file leaves out what no count notices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from nearlight.errors import PackageError, UnsupportedError
from nearlight.kernels.ops import ExpertOps, Ops
from nearlight.layers.decoder import Decoder
from nearlight.models import (
    gemma2,
    gemma3_text,
    gpt2,
    gpt_oss,
    granite,
    llama,
    mistral,
    mixtral,
    olmo2,
    phi3,
    qwen2,
    qwen3,
    qwen3_moe,
    smollm3,
)
from nearlight.models.config import Bounds, ConfigReader, shown

Family: TypeAlias = Callable[[Ops, ConfigReader], Decoder]

FAMILIES: dict[str, Family] = {
    "gpt2": gpt2.build,
    "llama": llama.build,
    "mistral": mistral.build,
    "qwen2": qwen2.build,
    "qwen3": qwen3.build,
}

COUNTED_FAMILIES: dict[str, Callable[[ExpertOps, ConfigReader], Decoder]] = {
    "gemma2": gemma2.build,
    "gemma3_text": gemma3_text.build,
    "gpt_oss": gpt_oss.build,
    "granite": granite.build,
    "mixtral": mixtral.build,
    "olmo2": olmo2.build,
    "phi3": phi3.build,
    "qwen3_moe": qwen3_moe.build,
    "smollm3": smollm3.build,
}
"""Families that can be planned, and not run yet."""


def why_not_run(model_type: str) -> str | None:
    """Say in one sentence why a family does not run; None if it does. Every command uses these words."""
    if model_type in FAMILIES:
        return None
    if model_type in COUNTED_FAMILIES:
        return f"nearlight cannot run models of the family {model_type} yet; it can plan them"
    return f"nearlight can neither run nor plan models of the family {model_type} yet"


def not_written(model_type: str, where: object = None) -> UnsupportedError:
    """Return the error for a family that does not run, or cannot even be planned."""
    more = "" if model_type in COUNTED_FAMILIES else "; `nearlight plan --list` names what it can plan"
    runs = ", ".join(sorted(FAMILIES))
    return UnsupportedError(why_not_run(model_type) or "", where=where, advice=f"it runs {runs}{more}")


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
    if not isinstance(model_type, str):
        expected = "the name of a model family"
        raise PackageError("model_type", where="config.json", expected=expected, found=shown(model_type))
    if model_type not in FAMILIES:
        raise not_written(shown(model_type).strip("'"), where="model_type")
    return FAMILIES[model_type](ops, ConfigReader(config, bounds=bounds))
