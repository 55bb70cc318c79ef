"""What a chat remembers, for the two kinds of models.

A chat model has a conversation: messages, whose every turn continues the cache. A base model has one growing text: what
was typed and what the model made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from nearlight.cli.arguments import BASE_MAX_TOKENS
from nearlight.errors import RequestError

if TYPE_CHECKING:
    from nearlight.engine.generation import Stream
    from nearlight.engine.language_model import LanguageModel

OnPrefill = Callable[[int, int], None]


class Dialogue(Protocol):
    """A chat's state. `formatted`: answers are Markdown."""

    formatted: bool
    system: str | None

    def say(self, text: str, on_prefill: OnPrefill) -> Stream: ...

    def ended(self, stream: Stream) -> None:
        """Take note that an answer has ended, or was stopped."""

    def clear(self) -> None: ...

    def saved(self) -> dict[str, Any]:
        """Return everything as JSON types."""

    def restore(self, saved: Mapping[str, Any]) -> str:
        """Take up a saved chat; return what it holds, in words. Raises: RequestError for something else."""


def open_dialogue(
    model: LanguageModel, system: str | None, options: Mapping[str, Any], *, completes: bool = False
) -> Dialogue:
    """Begin a chat, or a text where the model has no chat template or `completes` asks for one.

    Raises: RequestError for instructions to a model that only completes.
    """
    return _Conversation(model, system, options) if model.chats and not completes else _Text(model, system, options)


class _Conversation:
    formatted = True

    def __init__(self, model: LanguageModel, system: str | None, options: Mapping[str, Any]) -> None:
        self._chat = model.conversation(system=system, think=options.get("think"))
        self._options = {name: value for name, value in options.items() if name != "think"}

    @property
    def system(self) -> str | None:
        return self._chat.system

    @system.setter
    def system(self, text: str | None) -> None:
        self._chat.system = text

    def say(self, text: str, on_prefill: OnPrefill) -> Stream:
        return self._chat.say(text, on_prefill=on_prefill, **self._options)

    def ended(self, stream: Stream) -> None:
        """Nothing to do: the chat keeps what was said."""

    def clear(self) -> None:
        self._chat.clear()

    def saved(self) -> dict[str, Any]:
        return {"messages": list(self._chat.messages)}

    def restore(self, saved: Mapping[str, Any]) -> str:
        messages = saved.get("messages")
        if not isinstance(messages, list):
            raise RequestError("messages", expected="a list, as /save writes for a model that chats")
        self._chat.restore(messages)
        return f"{len(messages)} messages"


class _Text:
    formatted = False

    def __init__(self, model: LanguageModel, system: str | None, options: Mapping[str, Any]) -> None:
        self._model = model
        self._options = {"max_tokens": BASE_MAX_TOKENS, **options}
        self._text = ""
        if system is not None:
            self.system = system

    @property
    def system(self) -> str | None:
        return None

    @system.setter
    def system(self, text: str | None) -> None:
        raise RequestError("this model only completes text", advice="type the instructions as part of the text")

    def say(self, text: str, on_prefill: OnPrefill) -> Stream:
        joint = "\n" if self._text and not self._text.endswith("\n") else ""
        stream = self._model.stream(self._text + joint + text, raw=True, on_prefill=on_prefill, **self._options)
        self._text += joint + text
        return stream

    def ended(self, stream: Stream) -> None:
        self._text += stream.completion.text

    def clear(self) -> None:
        self._text = ""

    def saved(self) -> dict[str, Any]:
        return {"text": self._text}

    def restore(self, saved: Mapping[str, Any]) -> str:
        text = saved.get("text")
        if not isinstance(text, str):
            raise RequestError("text", expected="a text, as /save writes for a model that completes")
        self._text = text
        return f"{len(text)} characters"
