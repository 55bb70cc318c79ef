"""Harmony, in which gpt-oss writes: an answer is a row of messages, each on a channel.

    <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…<|return|>

The prompt ends with `<|start|>assistant`, so an answer begins inside a header. `analysis` is thinking; `final` is the
answer, and so is `commentary`, in which a model says what it is about to do. A header may name a recipient too
(` to=functions.NAME`, before the channel or behind it) and the kind of its text (`<|constrain|>json`).

Source: OpenAI's harmony format; the chat template of gpt-oss.
"""

from __future__ import annotations

import re

from nearlight.text.reasoning import special_ids_in
from nearlight.text.stops import held_back
from nearlight.text.streaming import Channel, Piece
from nearlight.text.tokenizer import Tokenizer

_START, _CHANNEL, _MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
_ENDS = ("<|end|>", "<|return|>", "<|call|>")
_MARKS = (_START, _CHANNEL, "<|constrain|>", _MESSAGE, *_ENDS)
_ANY_MARK = re.compile("|".join(map(re.escape, _MARKS)))
_ENDS_AHEAD = re.compile(r"\A(?:\s*(?:" + "|".join(map(re.escape, _ENDS)) + "))+")
_LONGEST_HEADER = 1000
_NAMED = re.compile(r"<\|channel\|>\s*(\w+)")


class Harmony:
    """How gpt-oss marks its thinking."""

    @staticmethod
    def is_in(template: str) -> bool:
        return _CHANNEL in template and _MESSAGE in template

    def opened_by(self, prompt: str) -> bool:
        return prompt.endswith(f"{_CHANNEL}analysis{_MESSAGE}")

    def shown_ids(self, tokenizer: Tokenizer) -> set[int]:
        return special_ids_in(tokenizer, *_MARKS)

    def closing_ids(self, tokenizer: Tokenizer) -> list[int]:
        return tokenizer.encode_continuation(f"<|end|>{_START}assistant{_CHANNEL}final{_MESSAGE}")

    def splitter(self, *, opened: bool = False) -> HarmonySplitter:
        return HarmonySplitter(opened=opened)


class HarmonySplitter:
    """Sends messages on channel analysis to "thinking", and others to the answer: a stage.

    Headers and marks are dropped. Between two messages of one kind stands a blank line. What is not written as Harmony,
    from its beginning, is an answer as it is.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self._held = ""
        self._channel: Channel | None = "thinking" if opened else None
        self._said: set[Channel] = set()
        self._joint = ""

    @property
    def inside(self) -> bool:
        """Whether the model is thinking at this point of the stream."""
        return self._channel == "thinking"

    def push(self, piece: Piece) -> list[Piece]:
        self._held += piece.text
        pieces: list[Piece] = []
        before: tuple[int, Channel | None] | None = None
        while (now := (len(self._held), self._channel)) != before:
            before = now
            if self._channel is None:
                self._read_header()
            else:
                pieces += self._read_message()
        return pieces

    def _read_header(self) -> None:
        self._held = _ENDS_AHEAD.sub("", self._held)
        header, ended, rest = self._held.partition(_MESSAGE)
        if not self._may_be_header():
            self._channel = "answer"
        elif ended:
            named = _NAMED.search(header)
            self._channel = "thinking" if named and named[1] == "analysis" else "answer"
            self._held = rest
            self._joint = "\n\n" if self._channel in self._said else ""
        elif len(self._held) > _LONGEST_HEADER:
            self._held, self._channel = _ANY_MARK.sub("", self._held, count=1), "answer"

    def _may_be_header(self) -> bool:
        """Whether what is held begins as a header does: with a mark or a recipient."""
        text = self._held.lstrip()
        return any(text.startswith(start) or start.startswith(text) for start in (*_MARKS, "to="))

    def _read_message(self) -> list[Piece]:
        found = _ANY_MARK.search(self._held)
        if not found:
            return self._emit(len(self._held) - held_back(self._held, _MARKS))
        pieces = self._emit(found.start())
        # A header that begins without the end of the message before it: its mark is part of it.
        self._held = self._held.removeprefix(found[0]) if found[0] in _ENDS else self._held
        self._channel = None
        return pieces

    def _emit(self, length: int) -> list[Piece]:
        channel = self._channel or "answer"
        text, self._held = self._held[:length], self._held[length:]
        if not text:
            return []
        text, self._joint = self._joint + text, ""
        self._said.add(channel)
        return [Piece(text, channel)]

    def finish(self) -> list[Piece]:
        if self._channel is None and any(mark in self._held for mark in _MARKS):
            self._held = ""  # a header without a message
        return self._emit(len(self._held))
