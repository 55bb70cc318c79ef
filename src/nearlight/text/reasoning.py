"""What an answer's stream asks of the way in which a family marks its thinking."""

from __future__ import annotations

import re
from typing import Protocol

from nearlight.text.streaming import Stage
from nearlight.text.tokenizer import Tokenizer

_TOKEN = re.compile(r"<[^<>\s]+>|\[[^\[\]]+\]")


class Splitter(Stage, Protocol):
    """A stage that sends thinking to its channel and drops what marks it."""

    @property
    def inside(self) -> bool:
        """Whether the model is thinking at this point of the stream."""


class Reasoning(Protocol):
    """How a family's models mark their thinking."""

    def opened_by(self, prompt: str) -> bool:
        """Whether a prompt ends inside a thinking section it opens itself."""

    def shown_ids(self, tokenizer: Tokenizer) -> set[int]:
        """Return the ids of the marks, which must reach the splitter even where the package calls them special."""

    def closing_ids(self, tokenizer: Tokenizer) -> list[int]:
        """Return the ids to force when the thinking budget is spent."""

    def splitter(self, *, opened: bool = False) -> Splitter:
        """Start on a stream; `opened` says that the prompt opened a section."""


def special_ids_in(tokenizer: Tokenizer, *texts: str) -> set[int]:
    """Return the special tokens that these texts are written with, as `<…>` or `[…]`."""
    # Looked up rather than encoded: each text that is encoded brings nearer that a large vocabulary is built whole.
    names = {name for text in texts for name in _TOKEN.findall(text)}
    return {id for id in tokenizer.ids_of(names).values() if id in tokenizer.special_ids}
