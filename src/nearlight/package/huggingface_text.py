"""What a Hugging Face directory says about text: tokenizer layout and settings, special tokens, chat templates.

Only found and collected here; building a tokenizer from it is the floor above's work.

Source: docs/formats.md sections 1.4 and 1.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nearlight.errors import PackageError
from nearlight.package.json_file import read_json, read_text
from nearlight.package.package import TokenizerFiles

_LAYOUTS = {
    "tokenizer.json": ("tokenizer.json",),
    "sentencepiece": ("tokenizer.model",),
    "vocab+merges": ("vocab.json", "merges.txt"),
}
"""Layouts by the files they need, the most complete first."""


def find_tokenizer(directory: Path) -> TokenizerFiles | None:
    """Say which tokenizer layout a directory has, or None.

    Raises: PackageError when a settings file is malformed.
    """
    for layout, names in _LAYOUTS.items():
        if all((directory / name).exists() for name in names):
            return TokenizerFiles(layout, directory, _settings(directory))
    return None


def _settings(directory: Path) -> dict[str, Any]:
    """Merge the settings files, the newest kind last; added_tokens.json goes under "added_tokens" (text to id)."""
    added_tokens = read_json(directory / "added_tokens.json")
    settings: dict[str, Any] = {"added_tokens": added_tokens} if added_tokens else {}
    settings |= read_json(directory / "special_tokens_map.json")
    return settings | read_json(directory / "tokenizer_config.json")


def special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """Collect special tokens by name: every setting called `…_token` whose value is a token's text."""
    named = {key: value for key, value in settings.items() if key.endswith("_token")}
    extra = settings.get("extra_special_tokens")
    if isinstance(extra, dict):
        named |= extra
    texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in named.items()}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def chat_templates(directory: Path) -> dict[str, str]:
    """Collect chat templates by name from every place they are kept; a file of its own wins.

    Raises: PackageError when a place holds something else.
    """
    templates: dict[str, str] = {}
    for name in ("processor_config.json", "chat_template.json", "tokenizer_config.json"):
        path = directory / name
        templates |= _templates(path, read_json(path).get("chat_template"))
    for path in sorted((directory / "additional_chat_templates").glob("*.jinja")):
        templates[path.stem] = read_text(path)
    if (directory / "chat_template.jinja").exists():
        templates["default"] = read_text(directory / "chat_template.jinja")
    return templates


def _templates(path: Path, value: object) -> dict[str, str]:
    """Read the `chat_template` key: one template, or a list of named ones."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, list) and all(_is_named_template(item) for item in value):
        return {item["name"]: item["template"] for item in value}
    raise PackageError(
        "chat_template", where=path, expected="a template or a list of named ones", found=repr(value)[:60]
    )


def _is_named_template(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(item.get("template"), str)
