"""What every model package becomes, whatever its file format: the one thing the floors above know.

A package is a description, not a model: the config under Hugging Face keys, the tensors in their stored bits under
Hugging Face names and `[out, in]` orientation, what is needed to build the tokenizer, the chat templates, and the
generation defaults. Nothing above this floor can tell a GGUF file from a Hugging Face directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nearlight.package.tensors import StoredTensor


@dataclass(frozen=True)
class TokenizerFiles:
    """The tokenizer of a Hugging Face directory: the layout that was found, and its settings.

    `layout` is "tokenizer.json", "vocab+merges" or "sentencepiece"; `settings` is tokenizer_config.json merged
    over special_tokens_map.json and added_tokens.json.
    """

    layout: str
    directory: Path
    settings: Mapping[str, Any]


NORMAL = 1
"""The type, in `TokenizerTables`, of a token that is a piece of text."""


@dataclass(frozen=True)
class TokenizerTables:
    """The tokenizer of a GGUF file: the `tokenizer.ggml.*` tables.

    Shapes: tokens, scores and token_types have one entry per token id; scores and token_types may be empty.
    `settings` holds the remaining `tokenizer.ggml.*` keys without that prefix (`pre`, `add_bos_token`, …).
    """

    kind: str
    tokens: Sequence[str]
    scores: list[float]
    token_types: list[int]
    merges: Sequence[str]
    settings: Mapping[str, Any]

    @cached_property
    def marked(self) -> dict[int, int]:
        """The types of the tokens that are more than a piece of text, by id."""
        return {id: kind for id, kind in enumerate(self.token_types) if kind != NORMAL}


@dataclass(frozen=True)
class Package:
    """A model package, read but not loaded.

    `config` uses Hugging Face keys and always has "model_type". `chat_templates` maps a template's name ("default",
    "tool_use", …) to its Jinja source. `generation` uses generation_config.json keys; its "eos_token_id", where the
    package gives any, is a list. `special_tokens` maps "bos_token", "eos_token", … to their text, for templates.
    `warnings` are things a person should know that do not stop the model from loading.
    """

    source: Path
    kind: str
    name: str
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]
    tokenizer: TokenizerFiles | TokenizerTables | None = None
    chat_templates: Mapping[str, str] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])
