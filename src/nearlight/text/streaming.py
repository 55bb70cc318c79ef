"""Ids to text while they are made: never half a character, and in the end the same text as decoding at once.

An answer passes through stages of one shape: `push` takes what came and returns the pieces that can be shown now,
`finish` returns what was held back. The first stage takes token ids, the others pieces.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from nearlight.text.tokenizer import Tokenizer

Channel = Literal["answer", "thinking"]


@dataclass(frozen=True)
class Piece:
    """A stretch of text, never empty, and whether it is the answer or the thinking before it."""

    text: str
    channel: Channel = "answer"


class Stage(Protocol):
    """A step of a stream from pieces to pieces; it may hold text back, but not lose any it was not asked to."""

    def push(self, piece: Piece) -> list[Piece]: ...

    def finish(self) -> list[Piece]: ...


def text_of(pieces: Iterable[Piece], channel: Channel = "answer") -> str:
    """Join the text of one channel."""
    return "".join(piece.text for piece in pieces if piece.channel == channel)


class Detokenizer:
    """Turns ids into pieces of text: the first stage.

    `continues`: the text goes on from a prompt, so SentencePiece's leading space is kept. Special tokens are left out
    except those in `shown`. Bytes that never complete a character become U+FFFD, as in `Tokenizer.decode`.
    """

    def __init__(self, tokenizer: Tokenizer, *, continues: bool = False, shown: Iterable[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._hidden = tokenizer.special_ids - set(shown)
        self._strip = tokenizer.strips_leading_space and not continues
        # Python's incremental decoder holds back exactly the bytes that may still become a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, id: int) -> list[Piece]:
        """Take the next id; return the text it completes, if any.

        Raises: RequestError for an id outside the vocabulary.
        """
        raw = b"" if id in self._hidden else self._tokenizer.token_bytes(id)
        if self._strip and raw:
            raw, self._strip = raw.removeprefix(b" "), False
        text = self._decoder.decode(raw)
        return [Piece(text)] if text else []

    def finish(self) -> list[Piece]:
        text = self._decoder.decode(b"", final=True)
        return [Piece(text)] if text else []
