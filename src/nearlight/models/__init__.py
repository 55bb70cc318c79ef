"""Model families: one file each, a `Model` named in `FAMILIES` by its `model_type`.

A family is given a `ConfigReader`, whose sizes the tensors have confirmed before anything is built by them. One that
calls an op which a kernel set lacks is refused there, one that leaves something out wherever it would be computed:
these can be planned, and not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearlight.errors import PackageError, UnsupportedError
from nearlight.kernels.ops import EXTRA_OPS, Ops
from nearlight.models.config import Bounds, ConfigReader, shown
from nearlight.models.exaone4 import Exaone4
from nearlight.models.falcon_h1 import FalconH1
from nearlight.models.gemma2 import Gemma2
from nearlight.models.gemma3_text import Gemma3
from nearlight.models.gemma4_text import Gemma4
from nearlight.models.glm4 import Glm4
from nearlight.models.glm4_moe import Glm4Moe
from nearlight.models.gpt2 import GPT2
from nearlight.models.gpt_oss import GptOss
from nearlight.models.granite import Granite
from nearlight.models.granitemoe import GraniteMoe
from nearlight.models.granitemoehybrid import GraniteMoeHybrid
from nearlight.models.lfm2 import Lfm2
from nearlight.models.lfm2_moe import Lfm2Moe
from nearlight.models.llama import Llama
from nearlight.models.llama4_text import Llama4
from nearlight.models.mamba import Mamba, Mamba2
from nearlight.models.ministral import Ministral
from nearlight.models.ministral3 import Ministral3
from nearlight.models.mistral import Mistral
from nearlight.models.mixtral import Mixtral
from nearlight.models.model import Family, Model
from nearlight.models.nemotron_h import NemotronH
from nearlight.models.olmo2 import Olmo2
from nearlight.models.olmo3 import Olmo3
from nearlight.models.olmoe import Olmoe
from nearlight.models.phi3 import Phi3
from nearlight.models.qwen2 import Qwen2
from nearlight.models.qwen3 import Qwen3
from nearlight.models.qwen3_5_moe_text import Qwen35Moe
from nearlight.models.qwen3_5_text import Qwen35
from nearlight.models.qwen3_moe import Qwen3Moe
from nearlight.models.qwen3_next import Qwen3Next
from nearlight.models.smollm3 import SmolLM3

FAMILIES: dict[str, Family] = {
    "exaone4": Exaone4,
    "falcon_h1": FalconH1,
    "gemma2": Gemma2,
    "gemma3_text": Gemma3,
    "gemma4_text": Gemma4,
    "glm4": Glm4,
    "glm4_moe": Glm4Moe,
    "gpt2": GPT2,
    "gpt_oss": GptOss,
    "granite": Granite,
    "granitemoe": GraniteMoe,
    "granitemoehybrid": GraniteMoeHybrid,
    "lfm2": Lfm2,
    "lfm2_moe": Lfm2Moe,
    "llama": Llama,
    "llama4_text": Llama4,
    "mamba": Mamba,
    "mamba2": Mamba2,
    "ministral": Ministral,
    "ministral3": Ministral3,
    "mistral": Mistral,
    "mixtral": Mixtral,
    "nemotron_h": NemotronH,
    "olmo2": Olmo2,
    "olmo3": Olmo3,
    "olmoe": Olmoe,
    "phi3": Phi3,
    "qwen2": Qwen2,
    "qwen3": Qwen3,
    "qwen3_5_moe_text": Qwen35Moe,
    "qwen3_5_text": Qwen35,
    "qwen3_moe": Qwen3Moe,
    "qwen3_next": Qwen3Next,
    "smollm3": SmolLM3,
}


def can_compute(kernel_set: str, family: Family) -> bool:
    """Say whether a kernel set has all ops of a family, which leaves nothing out if more than counts is wanted."""
    return set(family.needs) <= EXTRA_OPS[kernel_set] and (kernel_set == "count" or not family.leaves_out)


RUNNABLE = tuple(name for name, family in FAMILIES.items() if can_compute("cpu", family))
"""Families that run on the kernels people have."""


def why_not_run(model_type: str) -> str | None:
    """Say in one sentence why a family does not run; None if it does. Every command uses these words."""
    if model_type in RUNNABLE:
        return None
    if model_type in FAMILIES:
        return f"nearlight cannot run models of the family {model_type} yet; it can plan them"
    return f"nearlight can neither run nor plan models of the family {model_type} yet"


def not_written(model_type: str, where: object = None) -> UnsupportedError:
    """Return the error for a family that does not run, or cannot even be planned."""
    more = "" if model_type in FAMILIES else "; `nearlight plan --list` names what it can plan"
    runs = ", ".join(RUNNABLE)
    return UnsupportedError(why_not_run(model_type) or "", where=where, advice=f"it runs {runs}{more}")


def build_model(ops: Ops, config: Mapping[str, Any], bounds: Bounds | None = None) -> Model:
    """Declare the model that a config describes; its parameters are still to be bound.

    `bounds` are what the tensors show that it will be bound to; without any, what no model reaches.
    Raises: UnsupportedError for a family that is not written, or not for this kernel set; PackageError for senseless
    sizes.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        expected = "the name of a model family"
        raise PackageError("model_type", where="config.json", expected=expected, found=shown(model_type))
    family = FAMILIES.get(model_type)
    if family is None or not can_compute(ops.name, family):
        raise not_written(shown(model_type).strip("'"), where="model_type")
    return family(ops, ConfigReader(config, bounds=bounds))
