"""What a chat remembers, for the two kinds of models.

A chat model has a conversation: messages, whose every turn continues the KV cache. A base model has one growing text:
what was typed and what the model made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nearlight.cli.arguments import BASE_MAX_TOKENS
from nearlight.cli.chat.settings import Settings
from nearlight.errors import RequestError
from nearlight.text.switches import Think

if TYPE_CHECKING:
    from nearlight.engine.language_model import LanguageModel
    from nearlight.engine.stream import Stream

OnPrefill = Callable[[int, int], None]


class Dialogue(Protocol):
    """A chat's state, in turns: what was typed, and what came of it. `formatted`: answers are Markdown."""

    formatted: bool
    system: str | None

    @property
    def n_turns(self) -> int: ...

    def say(self, text: str, on_prefill: OnPrefill) -> Stream: ...

    def again(self, on_prefill: OnPrefill) -> Stream:
        """Answer what was typed last anew. Raises: RequestError where there is nothing, or the same would come."""

    def ended(self, stream: Stream) -> None:
        """Take note that an answer has ended, or was stopped."""

    def undo(self) -> str:
        """Take the last turn back; return what was typed. Raises: RequestError where there is none."""

    def trim(self, n_turns: int) -> list[str]:
        """Forget the oldest turns; return what was typed in them."""

    def prompt_tokens(self, text: str | None, *, without: int = 0) -> int:
        """Count the tokens of the prompt if `text` were said (None: the last one again), without the oldest turns."""

    def can_think(self, think: Think = True) -> bool:
        """Whether thinking can be switched on and off, or to such a level."""

    def clear(self) -> None: ...

    def saved(self) -> dict[str, Any]:
        """Return everything as JSON types."""

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up a saved chat. Raises: RequestError for something else."""


def open_dialogue(model: LanguageModel, system: str | None, settings: Settings, *, completes: bool = False) -> Dialogue:
    """Begin a chat, or a text where the model has no chat template or `completes` asks for one.

    Raises: RequestError for instructions to a model that only completes.
    """
    return _Conversation(model, system, settings) if model.chats and not completes else _Text(model, system, settings)


class _Answers:
    """The options of answer after answer to the same words, which shall differ.

    A seed given makes answers come again; so each further one takes the next seed. Without drawing there is no other
    answer, unless something was changed meanwhile or the last one was cut short.
    """

    def __init__(self, model: LanguageModel, settings: Settings) -> None:
        self._generation = model.package.generation
        self._settings = settings
        self._n_before = 0
        self._asked: Any = None

    def first(self) -> dict[str, Any]:
        self._n_before = 0
        return self._settings.options()

    def next(self, prompt: Any) -> dict[str, Any]:
        """Raises: RequestError where the same answer would come."""
        options = self._settings.options()
        if self._asked == self._asking(prompt) and self._settings.policy(self._generation).greedy:
            raise RequestError(
                "the same answer would come, as nothing is drawn at temperature 0",
                advice="/set temperature 0.7 makes others possible",
            )
        self._n_before += 1
        if options.get("seed") is not None:
            options["seed"] += self._n_before
        return options

    def ended(self, prompt: Any, stream: Stream) -> None:
        self._asked = None if stream.completion.finish_reason == "cancelled" else self._asking(prompt)

    def _asking(self, prompt: Any) -> Any:
        return prompt, self._settings["think"], self._settings.options()


class _Conversation:
    formatted = True

    def __init__(self, model: LanguageModel, system: str | None, settings: Settings) -> None:
        settings.defaults = {}
        self._chat = model.conversation(system=system)
        self._settings = settings
        self._answers = _Answers(model, settings)

    @property
    def system(self) -> str | None:
        return self._chat.system

    @system.setter
    def system(self, text: str | None) -> None:
        self._chat.system = text

    @property
    def n_turns(self) -> int:
        return len(self._chat.turns)

    def say(self, text: str, on_prefill: OnPrefill) -> Stream:
        self._chat.think = self._settings["think"]
        return self._chat.say(text, on_prefill=on_prefill, **self._answers.first())

    def again(self, on_prefill: OnPrefill) -> Stream:
        self._chat.think = self._settings["think"]
        return self._chat.regenerate(on_prefill=on_prefill, **self._answers.next(self._asked_for()))

    def ended(self, stream: Stream) -> None:
        self._answers.ended(self._asked_for(), stream)

    def _asked_for(self) -> list[dict[str, Any]]:
        """Return the messages before the last answer."""
        messages = self._chat.messages
        return messages[:-1] if messages and messages[-1]["role"] == "assistant" else list(messages)

    def undo(self) -> str:
        return self._chat.undo()

    def trim(self, n_turns: int) -> list[str]:
        return [str(message["content"]) for message in self._chat.trim(n_turns) if message["role"] == "user"]

    def prompt_tokens(self, text: str | None, *, without: int = 0) -> int:
        self._chat.think = self._settings["think"]
        return self._chat.prompt_tokens(text, without=without)

    def can_think(self, think: Think = True) -> bool:
        return self._chat.can_think(think)

    def clear(self) -> None:
        self._chat.clear()

    def saved(self) -> dict[str, Any]:
        return {"messages": list(self._chat.messages)}

    def restore(self, saved: Mapping[str, Any]) -> None:
        messages = saved.get("messages")
        if not isinstance(messages, list):
            raise RequestError("messages", expected="a list, as /save writes for a model that chats")
        self._chat.restore(messages)


@dataclass
class _Stretch:
    """A piece of a growing text. `joint` is the line end between it and what was there."""

    joint: str
    typed: str
    completed: str = ""

    @property
    def text(self) -> str:
        return self.joint + self.typed + self.completed


class _Text:
    formatted = False

    def __init__(self, model: LanguageModel, system: str | None, settings: Settings) -> None:
        settings.defaults = {"max_tokens": BASE_MAX_TOKENS}
        self._model = model
        self._answers = _Answers(model, settings)
        self._stretches: list[_Stretch] = []
        self._replaced: _Stretch | None = None
        if system is not None:
            self.system = system

    @property
    def system(self) -> str | None:
        return None

    @system.setter
    def system(self, text: str | None) -> None:
        raise RequestError("this model only completes text", advice="type the instructions as part of the text")

    @property
    def n_turns(self) -> int:
        return len(self._stretches)

    def say(self, text: str, on_prefill: OnPrefill) -> Stream:
        return self._complete(self._next(text), self._answers.first(), on_prefill)

    def again(self, on_prefill: OnPrefill) -> Stream:
        last = self._last()
        options = self._answers.next(self._asked_for())
        self._stretches.pop()
        try:
            stream = self._complete(_Stretch(last.joint, last.typed), options, on_prefill)
        except BaseException:
            self._stretches.append(last)
            raise
        self._replaced = last
        return stream

    def _complete(self, stretch: _Stretch, options: Mapping[str, Any], on_prefill: OnPrefill) -> Stream:
        prompt = _joined([*self._stretches, stretch])
        stream = self._model.stream(prompt, raw=True, on_prefill=on_prefill, **options)
        self._stretches.append(stretch)
        return stream

    def ended(self, stream: Stream) -> None:
        replaced, self._replaced = self._replaced, None
        self._stretches[-1].completed = stream.completion.text
        if replaced and not stream.completion.token_ids:
            self._stretches[-1] = replaced
        self._answers.ended(self._asked_for(), stream)

    def undo(self) -> str:
        typed = self._last().typed
        self._stretches.pop()
        return typed

    def trim(self, n_turns: int) -> list[str]:
        dropped, self._stretches = self._stretches[:n_turns], self._stretches[n_turns:]
        return [stretch.typed or stretch.completed for stretch in dropped]

    def prompt_tokens(self, text: str | None, *, without: int = 0) -> int:
        last = self._last() if text is None else self._next(text)
        earlier = self._stretches[:-1] if text is None else self._stretches
        prompt = _joined([*earlier[without:], _Stretch(last.joint, last.typed)])
        return len(self._model.render(prompt, raw=True).ids)

    def can_think(self, think: Think = True) -> bool:
        return False

    def clear(self) -> None:
        self._stretches = []

    def saved(self) -> dict[str, Any]:
        return {"text": _joined(self._stretches)}

    def restore(self, saved: Mapping[str, Any]) -> None:
        text = saved.get("text")
        if not isinstance(text, str):
            raise RequestError("text", expected="a text, as /save writes for a model that completes")
        self._stretches = [_Stretch("", "", text)] if text else []

    def _next(self, text: str) -> _Stretch:
        before = _joined(self._stretches)
        return _Stretch("\n" if before and not before.endswith("\n") else "", text)

    def _last(self) -> _Stretch:
        if not self._stretches or not self._stretches[-1].typed:
            raise RequestError("nothing was typed yet")
        return self._stretches[-1]

    def _asked_for(self) -> str:
        """Return the text before the last answer."""
        *earlier, last = self._stretches
        return _joined([*earlier, _Stretch(last.joint, last.typed)])


def _joined(stretches: Sequence[_Stretch]) -> str:
    text = "".join(stretch.text for stretch in stretches)
    return text.removeprefix(stretches[0].joint) if stretches else text  # the first may have come after others
