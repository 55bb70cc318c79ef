"""How vocabularies spell bytes: from the text of one token to the bytes it stands for.

Streaming needs bytes, because a token may hold half a character. Three spellings cover language models:

* byte-level (GPT-2): each byte is one printable character, `Ġ` is the space;
* SentencePiece: `▁` is the space and `<0x0A>` a single byte; where a space was put before the text when encoding, one
  leading space is taken off again when decoding;
* WordPiece and unspelled vocabularies: the text is the text.

Source: GPT-2's encoder.py (the printable-byte table); the SentencePiece model format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

SPACE = "▁"  # U+2581, SentencePiece's visible space
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class Spelling:
    """The bytes of a token's text, and whether decoding drops one leading space.

    `marks_spaces` says that ▁ in an added token's text means a space too.
    """

    to_bytes: Callable[[str], bytes]
    strips_leading_space: bool = False
    marks_spaces: bool = False


def printable_bytes() -> dict[str, int]:
    """Map GPT-2's printable characters to the bytes they stand for."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in printable}
    unprintable = [byte for byte in range(256) if byte not in set(printable)]
    return table | {chr(256 + i): byte for i, byte in enumerate(unprintable)}


_PRINTABLE = printable_bytes()
_PRINTED = {byte: character for character, byte in _PRINTABLE.items()}


def byte_tokens() -> list[str]:
    """List SentencePiece's tokens of single bytes."""
    return [f"<0x{byte:02X}>" for byte in range(256)]


def spell_bytes(text: str) -> str:
    """Spell a text as byte-level vocabularies do."""
    return "".join(_PRINTED[byte] for byte in text.encode())


def spell_spaces(text: str) -> str:
    """Spell a text as SentencePiece does, with nothing put before it."""
    return text.replace(" ", SPACE)


def literal_bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")


def byte_level_bytes(text: str) -> bytes:
    """Read byte-level spelling; a token with a character outside the table is literal text."""
    try:
        return bytes([_PRINTABLE[character] for character in text])
    except KeyError:
        return literal_bytes(text)


def sentencepiece_bytes(text: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(text)
    return bytes([int(byte[1], 16)]) if byte else literal_bytes(text.replace(SPACE, " "))


LITERAL = Spelling(literal_bytes)
BYTE_LEVEL = Spelling(byte_level_bytes)
SENTENCEPIECE = Spelling(sentencepiece_bytes, marks_spaces=True)
SENTENCEPIECE_PREFIXED = Spelling(sentencepiece_bytes, strips_leading_space=True, marks_spaces=True)


def spelling_of(decoder: dict[str, Any] | None) -> Spelling | None:
    """Read the spelling off a tokenizer.json's decoder, or None where it is of another kind."""
    parts = {str(part.get("type")): part for part in _flattened(decoder or {})}
    if "ByteLevel" in parts:
        return BYTE_LEVEL
    if "Metaspace" in parts:
        never = parts["Metaspace"].get("prepend_scheme", "always") == "never"
        unprefixed = never or parts["Metaspace"].get("add_prefix_space") is False
        return SENTENCEPIECE if unprefixed else SENTENCEPIECE_PREFIXED
    if SPACE in json.dumps(parts.get("Replace"), ensure_ascii=False):
        return SENTENCEPIECE_PREFIXED if "Strip" in parts else SENTENCEPIECE
    return None


def _flattened(decoder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if decoder.get("type") == "Sequence":
        for part in decoder.get("decoders", []):
            yield from _flattened(part)
    else:
        yield decoder


def well_formed(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates by U+FFFD: what a terminal or JSON may pass on is no UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", errors="surrogatepass").decode("utf-16-le", errors="replace")
    return text
