"""Metadata of a GGUF file as the config and generation defaults of a Hugging Face package.

One entry per architecture string in `ARCHITECTURES`, for families that can be planned too. Of any other the sizes are
read as far as they are there, and its tensors keep their names, so that a person can look into the file. Unlike hub
configs, the result names every size, because GGUF's own defaults need not be the family's.

Source: docs/formats.md sections 5.4 and 8; gguf package, constants.py; llama.cpp's defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nearlight.package import gguf_families as families
from nearlight.package.gguf_decoder import Tensors, decoder_config
from nearlight.package.gguf_metadata import Metadata
from nearlight.package.gguf_names import (
    DECODER,
    FALCON_H1,
    GEMMA,
    GEMMA4,
    GLM4,
    GLM4_MOE,
    GPT2,
    GPT_OSS,
    GRANITE_MOE,
    LFM2,
    LLAMA4,
    MAMBA,
    MAMBA2,
    MIXTRAL,
    NEMOTRON_H,
    OLMO2,
    PHI3,
    QWEN3_MOE,
    QWEN3_NEXT,
    UNKNOWN,
    Names,
)


def read_config(metadata: Metadata, tensors: Tensors) -> tuple[dict[str, Any], Architecture]:
    """Return the config under Hugging Face keys, and the architecture it was read by.

    Shapes: tensors under GGUF names.
    Raises: PackageError for missing or senseless keys; UnsupportedError for what is known to be out of reach.
    """
    name = metadata.text("general.architecture")
    architecture = ARCHITECTURES.get(name) or Architecture(name, families.unknown, UNKNOWN)
    if name == "llama" and metadata.integer("llama.expert_count", 0) > 0:
        architecture = Architecture("mixtral", decoder_config, MIXTRAL, permuted=True)
    return {"model_type": architecture.model_type, **architecture.config(metadata, name, tensors)}, architecture


@dataclass(frozen=True)
class Architecture:
    """How files of one `general.architecture` become a Hugging Face model of `model_type`.

    `permuted`: q and k rows are stored in interleaved rotary order.
    """

    model_type: str
    config: Callable[[Metadata, str, Tensors], dict[str, Any]]
    names: Names
    permuted: bool = False


ARCHITECTURES = {
    "llama": Architecture("llama", decoder_config, DECODER, permuted=True),
    "qwen2": Architecture("qwen2", decoder_config, DECODER),
    "qwen3": Architecture("qwen3", decoder_config, DECODER),
    "gpt2": Architecture("gpt2", families.gpt2, GPT2),
    "falcon-h1": Architecture("falcon_h1", families.falcon_h1, FALCON_H1),
    "gemma2": Architecture("gemma2", families.gemma, GEMMA),
    "gemma3": Architecture("gemma3_text", families.gemma, GEMMA),
    "gemma4": Architecture("gemma4_text", families.gemma4, GEMMA4),
    "glm4": Architecture("glm4", decoder_config, GLM4),
    "glm4moe": Architecture("glm4_moe", families.glm4_moe, GLM4_MOE),
    "gpt-oss": Architecture("gpt_oss", families.gpt_oss, GPT_OSS),
    "granite": Architecture("granite", families.granite, DECODER, permuted=True),
    "granitehybrid": Architecture("granitemoehybrid", families.granite_hybrid, GRANITE_MOE, permuted=True),
    "granitemoe": Architecture("granitemoe", families.granite_moe, GRANITE_MOE, permuted=True),
    "lfm2": Architecture("lfm2", families.lfm2, LFM2),
    "lfm2moe": Architecture("lfm2_moe", families.lfm2, LFM2),
    "llama4": Architecture("llama4_text", families.llama4, LLAMA4),
    "mamba": Architecture("mamba", families.mamba, MAMBA),
    "mamba2": Architecture("mamba2", families.mamba, MAMBA2),
    "mistral3": Architecture("ministral3", families.mistral3, DECODER, permuted=True),
    "nemotron_h": Architecture("nemotron_h", families.nemotron_h, NEMOTRON_H, permuted=True),
    "nemotron_h_moe": Architecture("nemotron_h", families.nemotron_h, NEMOTRON_H, permuted=True),
    "olmoe": Architecture("olmoe", families.olmoe, QWEN3_MOE),
    "olmo2": Architecture("olmo2", families.olmo, OLMO2),
    "phi3": Architecture("phi3", families.phi3, PHI3),
    "qwen3next": Architecture("qwen3_next", families.qwen3_next, QWEN3_NEXT),
    "qwen35": Architecture("qwen3_5_text", families.qwen3_next, QWEN3_NEXT),
    "qwen35moe": Architecture("qwen3_5_moe_text", families.qwen3_next, QWEN3_NEXT),
    "qwen3moe": Architecture("qwen3_moe", decoder_config, QWEN3_MOE),
    "smollm3": Architecture("smollm3", decoder_config, DECODER, permuted=True),
}
