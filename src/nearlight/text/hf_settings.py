"""What a Hugging Face directory says about special and added tokens, in its several spellings.

A special token is a string or an AddedToken written as a dictionary; added tokens stand in `added_tokens_decoder`
(id to token) or, in old packages, in added_tokens.json (text to id), which the package's reader puts under
`added_tokens`. All layouts read them here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearlight.errors import TextError
from nearlight.package.package import TokenizerFiles
from nearlight.text.files import read_bytes
from nearlight.text.spelling import well_formed

if TYPE_CHECKING:
    import tokenizers

NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def read_json(path: Path) -> Any:
    """Read a JSON file of the tokenizer.

    Raises: TextError naming the file and what is wrong with it.
    """
    try:
        return json.loads(read_bytes(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise TextError("is not JSON", where=path, found=error) from None


def added_token(content: str, fields: Mapping[str, Any] | None = None, **defaults: bool) -> tokenizers.AddedToken:
    from tokenizers import AddedToken

    flags = {**defaults, **{flag: bool(fields[flag]) for flag in _FLAGS if fields and flag in fields}}
    return AddedToken(well_formed(content), **flags)


def text_of(token: Any) -> str | None:
    """Return the text of a special token written either way, or None; JSON can spell texts that are no UTF-8."""
    text = token.get("content") if isinstance(token, Mapping) else token
    return well_formed(text) if isinstance(text, str) else None


def named_tokens(settings: Mapping[str, Any], special_tokens: Mapping[str, str]) -> dict[str, str]:
    """Map "bos_token", … to their text; what the package's own reader found wins over the settings."""
    found = {name: text_of(settings.get(name)) for name in NAMES} | {
        name: text_of(text) for name, text in special_tokens.items()
    }
    return {name: text for name, text in found.items() if text and name in NAMES}


def ids_of_named(backend: tokenizers.Tokenizer, named: Mapping[str, str]) -> dict[str, int]:
    """Map "bos_token", … to ids, leaving out tokens the vocabulary lacks."""
    return {name: id for name, text in named.items() if (id := backend.token_to_id(text)) is not None}


def declared_added_tokens(files: TokenizerFiles, special_tokens: Mapping[str, str]) -> dict[int, tokenizers.AddedToken]:
    """Return the added tokens the directory declares, by id.

    Raises: TextError for an entry of the wrong type.
    """
    where = files.directory / "tokenizer_config.json"
    declared = files.settings.get("added_tokens_decoder")
    if declared is not None:
        if not isinstance(declared, Mapping):
            raise TextError("added_tokens_decoder", where=where, expected="an object", found=type(declared).__name__)
        return {_id(id, where): _declared(id, token, where) for id, token in declared.items()}
    legacy = files.directory / "added_tokens.json"
    listed = files.settings.get("added_tokens", {})
    if not isinstance(listed, Mapping):
        raise TextError("content", where=legacy, expected="an object of text to id", found=type(listed).__name__)
    special = set(special_tokens.values()) | set(_extra_special(files.settings))
    return {
        _id(id, legacy): added_token(text, normalized=text not in special, special=text in special)
        for text, id in listed.items()
    }


def _declared(id: object, token: Any, where: Path) -> tokenizers.AddedToken:
    text = text_of(token)
    if text is None:
        raise TextError(f"added_tokens_decoder[{id}]", where=where, expected="an object with content", found=token)
    return added_token(text, token if isinstance(token, Mapping) else None)


def _id(value: Any, where: Path) -> int:
    try:
        id = int(value)
    except (TypeError, ValueError, OverflowError):
        id = -1
    if not 0 <= id < 2**31:
        raise TextError("id of an added token", where=where, expected="0 or more, below 2**31", found=repr(value))
    return id


def undeclared_special_tokens(settings: Mapping[str, Any], named: Mapping[str, str]) -> list[tokenizers.AddedToken]:
    """Return the named and additional special tokens as tokens to add, in transformers' order."""
    found: dict[str, tokenizers.AddedToken] = {}
    for name in NAMES:
        if name in named:
            token = settings.get(name)
            fields = token if isinstance(token, Mapping) else None
            found.setdefault(named[name], added_token(named[name], fields, normalized=False, special=True))
    for text in _extra_special(settings):
        found.setdefault(text, added_token(text, normalized=False, special=True))
    return list(found.values())


def _extra_special(settings: Mapping[str, Any]) -> list[str]:
    listed = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    values = listed.values() if isinstance(listed, Mapping) else listed if isinstance(listed, list) else []
    return [text for text in map(text_of, values) if text]


def wants(settings: Mapping[str, Any], name: str, default: bool) -> bool:
    """Read a boolean setting; null counts as absent."""
    value = settings.get(name)
    return default if value is None else bool(value)


def ends_around(settings: Mapping[str, Any], special: Mapping[str, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids put before and after a text: BOS and EOS where the settings ask for them.

    Absent means no, as transformers 5 reads it, though Llama's class documentation says otherwise.
    """
    bos, eos = special.get("bos_token"), special.get("eos_token")
    before = (bos,) if bos is not None and wants(settings, "add_bos_token", False) else ()
    after = (eos,) if eos is not None and wants(settings, "add_eos_token", False) else ()
    return before, after
