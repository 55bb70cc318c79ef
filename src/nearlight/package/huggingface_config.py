"""config.json and generation_config.json, with their historic spellings made one.

After this, rotary settings are one dict `rope_parameters` with "rope_type", whatever the file's era, and stop ids are a
list. Everything else is kept as written; absent keys stay absent, because their defaults belong to the model family.

Source: docs/formats.md sections 1.3, 1.6, 1.7 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nearlight.errors import PackageError, UnsupportedError
from nearlight.package.json_file import read_json

_MODEL_TYPES = {
    "GPT2LMHeadModel": "gpt2",
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
"""For configs without model_type."""

_READABLE_METHODS = {("gpt_oss", "mxfp4")}

_TEXT_PARTS = {
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "llama4": "llama4_text",
    "mistral3": "mistral",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
}
"""Models that see, of which the part for text is a family: this one where it does not say."""

_ROPE_TYPES = {"su": "longrope", "mrope": "default"}
"""Names that were used before, or that mean nothing for text."""


def read_config(directory: Path) -> dict[str, Any]:
    """Read config.json under current Hugging Face keys.

    Raises: PackageError when it is missing or malformed; UnsupportedError for pre-quantized weights.
    """
    path = directory / "config.json"
    if not path.exists():
        raise PackageError("no config.json", where=directory, advice="give the directory of a model, or a .gguf file")
    config = _text_part(read_json(path))
    config["model_type"] = _model_type(path, config)
    _refuse_quantized(directory, config)
    _unify_rope(path, config)
    return config


def _text_part(config: dict[str, Any]) -> dict[str, Any]:
    """Take the part for text out of the config of a model that also sees; what stands above it alone is kept."""
    text, kind = config.get("text_config"), config.get("model_type")
    if not isinstance(text, dict) or not isinstance(kind, str) or kind not in _TEXT_PARTS:
        return config
    return {key: config[key] for key in ("eos_token_id", "quantization_config") if key in config} | {
        **text,
        "model_type": text.get("model_type") or _TEXT_PARTS[kind],
    }


def read_generation(directory: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Read generation_config.json; stop ids of config.json are added to its own.

    Raises: PackageError when it is malformed.
    """
    path = directory / "generation_config.json"
    generation = {key: value for key, value in read_json(path).items() if value is not None}
    stop_ids = _ids(path, "eos_token_id", generation.get("eos_token_id"))
    stop_ids += _ids(directory / "config.json", "eos_token_id", config.get("eos_token_id"))
    generation.pop("eos_token_id", None)
    if stop_ids:
        generation["eos_token_id"] = list(dict.fromkeys(stop_ids))
    for key in ("bos_token_id", "pad_token_id"):
        if key not in generation and type(config.get(key)) is int:
            generation[key] = config[key]
    return generation


def _model_type(path: Path, config: Mapping[str, Any]) -> str:
    model_type = config.get("model_type")
    architectures = config.get("architectures")
    if model_type is None and isinstance(architectures, list) and architectures:
        model_type = _MODEL_TYPES.get(str(architectures[0]))
    if not isinstance(model_type, str) or not model_type:
        raise PackageError("model_type", where=path, expected="the name of a model family", found=model_type)
    return model_type


def _refuse_quantized(directory: Path, config: Mapping[str, Any]) -> None:
    for name, settings in (
        ("config.json", config.get("quantization_config")),
        ("quantize_config.json", read_json(directory / "quantize_config.json")),
        ("quant_config.json", read_json(directory / "quant_config.json")),
    ):
        method = settings.get("quant_method") if isinstance(settings, dict) else None
        if not settings or (config["model_type"], str(method)) in _READABLE_METHODS:
            continue
        if (
            method is None
            and isinstance(settings, dict)
            and (settings.get("load_in_4bit") or settings.get("load_in_8bit"))
        ):
            method = "bitsandbytes"
        raise UnsupportedError(
            "quantized weights of this kind are not known",
            where=directory / name,
            expected="plain F32, F16 or BF16 safetensors",
            found=f"quant_method {str(method)[:40]!r}",
            advice="use the unquantized model, or a GGUF file of it",
        )


def _unify_rope(path: Path, config: dict[str, Any]) -> None:
    """Gather rotary settings of both eras into `rope_parameters`; nested ones (per kind of layer) stay nested."""
    theta = config.pop("rope_theta", None)
    scaling = config.pop("rope_scaling", None)
    parameters = config.get("rope_parameters")
    for key, value in (("rope_scaling", scaling), ("rope_parameters", parameters)):
        if value is not None and not isinstance(value, dict):
            raise PackageError(key, where=path, expected="an object", found=repr(value)[:60])
    base = {"rope_theta": theta, "partial_rotary_factor": config.get("partial_rotary_factor")}
    known = {key: value for key, value in base.items() if value is not None}
    merged = known | (scaling or {}) | (parameters or {})
    per_kind = {kind: value for kind, value in merged.items() if isinstance(value, dict)}
    if per_kind:
        config["rope_parameters"] = {kind: _with_rope_type(path, known | value) for kind, value in per_kind.items()}
    else:
        config["rope_parameters"] = _with_rope_type(path, merged)


def _with_rope_type(path: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    old_name = parameters.pop("type", None)
    kind = parameters.get("rope_type") or old_name or "default"
    if not isinstance(kind, str):
        raise PackageError("rope_type", where=path, expected="a name", found=repr(kind)[:60])
    return parameters | {"rope_type": _ROPE_TYPES.get(kind, kind)}


def _ids(path: Path, key: str, value: object) -> list[int]:
    """Read one id, a list of them, or none."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    ids = [item for item in items if type(item) is int and item >= 0]
    if len(ids) != len(items):
        raise PackageError(key, where=path, expected="a token id or a list of them", found=repr(value)[:60])
    return ids
