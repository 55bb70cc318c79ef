"""A Hugging Face directory as a Package."""

from __future__ import annotations

from pathlib import Path

from nearlight.package.huggingface_config import read_config, read_generation
from nearlight.package.huggingface_names import normalize
from nearlight.package.huggingface_text import chat_templates, find_tokenizer, special_tokens
from nearlight.package.huggingface_weights import read_weights
from nearlight.package.package import Package


def open_huggingface(directory: Path) -> Package:
    """Read a directory's settings and weight headers; weights stay in their files until they are read.

    Raises: PackageError, UnsupportedError naming file and field.
    """
    config = read_config(directory)
    weights = read_weights(directory)
    tokenizer = find_tokenizer(directory)
    warnings = weights.warnings if tokenizer else (*weights.warnings, "no tokenizer: token ids in, logits out")
    return Package(
        source=directory,
        kind="huggingface",
        name=_name(directory),
        config=config,
        tensors=normalize(config["model_type"], weights.tensors),
        tokenizer=tokenizer,
        chat_templates=chat_templates(directory),
        generation=read_generation(directory, config),
        special_tokens=special_tokens(tokenizer.settings) if tokenizer else {},
        warnings=warnings,
        files=weights.files,
    )


def _name(directory: Path) -> str:
    """Call a package by its directory, and a snapshot in the hub's cache by its hub id."""
    resolved = directory.resolve()
    repository = resolved.parent.parent.name
    if resolved.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/")
    return resolved.name
