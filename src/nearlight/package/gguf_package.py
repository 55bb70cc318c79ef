"""A GGUF file, or a split one, as a Package."""

from __future__ import annotations

from pathlib import Path

from nearlight.package.gguf import read_gguf
from nearlight.package.gguf_config import read_config
from nearlight.package.gguf_names import rename
from nearlight.package.gguf_tokenizer import (
    read_chat_templates,
    read_generation,
    read_special_tokens,
    read_tokenizer,
)
from nearlight.package.package import Package


def open_gguf(path: Path) -> Package:
    """Read a GGUF model's headers; weights stay in the file until they are read.

    Raises: PackageError, UnsupportedError naming file and field.
    """
    file = read_gguf(path)
    config, architecture = read_config(file.metadata, file.tensors)
    tensors, unknown = rename(file.path, file.tensors.values(), architecture.names, config, architecture.permuted)
    tokenizer = read_tokenizer(file.metadata)
    warnings = []
    if tokenizer is None:
        warnings.append("no tokenizer in the file: token ids in, logits out")
    if unknown:
        shown = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        warnings.append(f"{len(unknown)} tensors are not used by {architecture.model_type}: {shown}")
    return Package(
        source=path,
        kind="gguf",
        name=file.metadata.text("general.name", file.path.stem),
        config=config,
        tensors=tensors,
        tokenizer=tokenizer,
        chat_templates=read_chat_templates(file.metadata),
        generation=read_generation(file.metadata, tokenizer),
        special_tokens=read_special_tokens(file.metadata, tokenizer),
        warnings=tuple(warnings),
        files=file.paths,
    )
