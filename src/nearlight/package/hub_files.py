"""Names on the Hugging Face hub: what an id means, and which files of a repository are the model.

Repositories hold far more than a model needs (weights in three formats, pictures, training states), and GGUF
repositories one model in twenty sizes, of which a person wants one. Only names are looked at here: no network, no disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nearlight.errors import PackageError, RequestError, UnsupportedError

INDEX = "model.safetensors.index.json"
_ID = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*?)(?::(?P<choice>[\w./+-]+))?", re.ASCII)
_SMALL_FILES = frozenset(
    (
        "config.json", "generation_config.json", INDEX,
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "merges.txt", "tokenizer.model",
        "chat_template.jinja", "chat_template.json", "processor_config.json",
        "quantize_config.json", "quant_config.json",
    )
)  # fmt: skip
"""Everything besides weights that a package is read from; quantize_config.json only to refuse it by name."""


@dataclass(frozen=True)
class HubId:
    """`org/name`, or `org/name:choice` where choice is one GGUF file of many, or the part of its name that tells it."""

    repository: str
    choice: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}:{self.choice}" if self.choice else self.repository


def parse_id(text: str) -> HubId | None:
    """Read a hub id; None for anything else."""
    match = _ID.fullmatch(text)
    return HubId(match["repository"], match["choice"]) if match else None


def small_files(names: Iterable[str]) -> list[str]:
    """Choose the settings, tokenizer and template files of a Hugging Face package."""
    return sorted(
        name
        for name in names
        if name in _SMALL_FILES or (name.startswith("additional_chat_templates/") and name.endswith(".jinja"))
    )


def weight_files(id: HubId, names: Iterable[str], weight_map: Mapping[str, str]) -> list[str]:
    """Choose the safetensors files that are the model: those of the index, else the single file, else all.

    Raises: UnsupportedError where there is none, or they are only pickled.
    """
    present = {name for name in names if "/" not in name}
    safetensors = {name for name in present if name.endswith(".safetensors")}
    indexed = set(weight_map.values())
    if indexed:
        missing = sorted(indexed - safetensors)
        if missing:
            raise PackageError(
                "weight_map", where=f"{id}: {INDEX}", expected="files of the repository", found=missing[0]
            )
        return sorted(indexed)
    if "model.safetensors" in safetensors:
        return ["model.safetensors"]
    if safetensors:
        return sorted(name for name in safetensors if not name.startswith("consolidated")) or sorted(safetensors)
    pickled = any(name.endswith((".bin", ".pt", ".pth")) for name in present)
    raise UnsupportedError(
        "no weights that nearlight reads",
        where=id,
        expected="*.safetensors or *.gguf",
        found="pickled ones" if pickled else "none",
        advice="look for a safetensors or GGUF version of this model",
    )


def gguf_models(names: Iterable[str]) -> dict[str, list[str]]:
    """Group .gguf files into models: the first file of each, with all its parts. Vision projectors are left out."""
    from nearlight.package.gguf import part_paths

    models: dict[str, list[str]] = {}
    for name in sorted(names):
        path = PurePosixPath(name)
        if path.suffix == ".gguf" and not path.name.startswith("mmproj"):
            parts = [part.as_posix() for part in part_paths(Path(name))]
            models[parts[0]] = parts
    return models


def choose_gguf(id: HubId, models: Mapping[str, Sequence[str]]) -> str:
    """Return the first file of the model that `id` chooses.

    Raises: RequestError listing the choices where none or several fit.
    """
    fitting = [name for name in models if _fits(id.choice, name)] if id.choice else list(models)
    exact = [name for name in fitting if id.choice in (name, PurePosixPath(name).name)]
    if len(exact or fitting) == 1:
        return (exact or fitting)[0]
    choices = ", ".join(PurePosixPath(name).name for name in fitting or models)
    what = f"{len(fitting)} GGUF files fit" if fitting else f"no GGUF file fits ':{id.choice}'"
    example = f"{id.repository}:{PurePosixPath(next(iter(fitting or models))).name}" if models else id.repository
    raise RequestError(what, where=id, found=choices or "none at all", advice=f"name one, as in {example}")


def _fits(choice: str, name: str) -> bool:
    """Whether a file's name has `choice` as a word of its own: Q4_K is not in model-Q4_K_M.gguf."""
    if choice in (name, PurePosixPath(name).name):
        return True
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(choice)}(?![A-Za-z0-9_])", name, re.IGNORECASE) is not None
