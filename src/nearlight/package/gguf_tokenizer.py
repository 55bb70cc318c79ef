"""Everything about text in a GGUF file: token tables, special tokens, stop ids, sampling defaults, chat templates.

Source: docs/formats.md section 5.4; gguf package, constants.py; llama.cpp's end-of-generation rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nearlight.errors import PackageError
from nearlight.package.gguf_metadata import Metadata
from nearlight.package.package import TokenizerTables
from nearlight.package.special_tokens import END_TEXTS, GGUF_END_KEYS, GGUF_KEYS, SENTENCEPIECE_IDS, true_ends
from nearlight.package.string_table import find

_PREFIX = "tokenizer.ggml."
_TABLES = ("model", "tokens", "scores", "token_type", "merges")
_NO_TOKENIZER = ("none", "no_vocab")

_SENTENCEPIECE_IDS = {GGUF_KEYS[role]: id for role, id in SENTENCEPIECE_IDS.items()}

_SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}


def read_tokenizer(metadata: Metadata) -> TokenizerTables | None:
    """Read the token tables, or None when the file has no tokenizer.

    Raises: PackageError when a table is of the wrong type or length.
    """
    kind = metadata.text(_PREFIX + "model", "none")
    if kind in _NO_TOKENIZER:
        return None
    tokens = metadata.texts(_PREFIX + "tokens")
    if not tokens:
        raise PackageError(f"metadata '{_PREFIX}tokens' is missing or empty", where=metadata.path)
    tables = {key: metadata.numbers(_PREFIX + key) for key in ("scores", "token_type")}
    for key, table in tables.items():
        if table and len(table) != len(tokens):
            expected = f"{len(tokens)} entries, one per token"
            raise PackageError(f"metadata '{_PREFIX}{key}'", where=metadata.path, expected=expected, found=len(table))
    settings = {
        key.removeprefix(_PREFIX): _plain(metadata.values[key])
        for key in metadata
        if key.startswith(_PREFIX) and key.removeprefix(_PREFIX) not in _TABLES
    }
    merges = metadata.texts(_PREFIX + "merges")
    return TokenizerTables(kind, tokens, tables["scores"], tables["token_type"], merges, settings)


def read_special_tokens(metadata: Metadata, tokenizer: TokenizerTables | None) -> dict[str, str]:
    """Look up the text of the special tokens that chat templates may name."""
    if tokenizer is None:
        return {}
    special_tokens = {}
    for name, key in GGUF_KEYS.items():
        token_id = _token_id(metadata, tokenizer, key)
        if token_id is not None:
            special_tokens[name] = tokenizer.tokens[token_id]
    return special_tokens


def read_generation(metadata: Metadata, tokenizer: TokenizerTables | None) -> dict[str, Any]:
    """Read sampling defaults and every id that ends an answer, under generation_config.json's keys."""
    generation: dict[str, Any] = {}
    for key, ours in _SAMPLING.items():
        if f"general.sampling.{key}" in metadata:
            number = metadata.number(f"general.sampling.{key}")
            generation[ours] = int(number) if ours == "top_k" else number
    if generation:
        generation["do_sample"] = generation.get("temperature", 1.0) > 0
    stop_ids = [token_id for key in GGUF_END_KEYS if (token_id := _token_id(metadata, tokenizer, key)) is not None]
    if tokenizer is not None:
        stop_ids += find(tokenizer.tokens, END_TEXTS)
        ends = true_ends({token_id: tokenizer.tokens[token_id] for token_id in stop_ids})
        stop_ids = [token_id for token_id in stop_ids if token_id in ends]
    if stop_ids:
        generation["eos_token_id"] = list(dict.fromkeys(stop_ids))
    for ours, key in (("bos_token_id", "bos_token_id"), ("pad_token_id", "padding_token_id")):
        token_id = _token_id(metadata, tokenizer, key)
        if token_id is not None:
            generation[ours] = token_id
    return generation


def read_chat_templates(metadata: Metadata) -> dict[str, str]:
    """Collect the default template and the named ones."""
    prefix = "tokenizer.chat_template"
    templates = {key[len(prefix) + 1 :]: metadata.text(key) for key in metadata if key.startswith(prefix + ".")}
    return templates | ({"default": metadata.text(prefix)} if prefix in metadata else {})


def _token_id(metadata: Metadata, tokenizer: TokenizerTables | None, key: str) -> int | None:
    """Read the id of a special token; one outside the vocabulary, as −1 or 2³² − 1, means that there is none."""
    if _PREFIX + key in metadata:
        token_id = metadata.integer(_PREFIX + key, least=-1, most=2**32 - 1)
    elif tokenizer is not None and tokenizer.kind == "llama" and key in _SENTENCEPIECE_IDS:
        token_id = _SENTENCEPIECE_IDS[key]
    else:
        return None
    n_tokens = 2**31 if tokenizer is None else len(tokenizer.tokens)
    return token_id if 0 <= token_id < n_tokens else None


def _plain(value: object) -> object:
    """Free a setting from numpy: bytes for byte arrays, lists for others."""
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.dtype.itemsize == 1 else value.tolist()
    return value
