"""What a package says about text: its tokenizer, its chat template, and how a prompt becomes token ids with them.

They take as long to make as a small model's weights take to read, and Python has nothing to do meanwhile: so they are
made ahead, by a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Ordered
from contextlib import suppress
from numbers import Integral
from threading import Thread
from typing import Any, TypeAlias, TypeGuard

from nearlight.engine.generation import Rendered
from nearlight.errors import RequestError, TextError
from nearlight.package.package import Package
from nearlight.text.conversation import Conversation
from nearlight.text.once import Once
from nearlight.text.reasoning import Reasoning
from nearlight.text.switches import Think
from nearlight.text.template import ChatTemplate
from nearlight.text.thinking import find_markers
from nearlight.text.tokenizer import Tokenizer, build_tokenizer, stop_ids_of

Message: TypeAlias = Mapping[str, Any]
Prompt: TypeAlias = str | Ordered[Message] | Ordered[int]


class Prompts:
    """A package's tokenizer and chat template, each made once: ahead, or when it is first asked for."""

    def __init__(self, package: Package) -> None:
        self._package = package
        source = package.chat_templates.get("default")
        self.template = None if source is None else ChatTemplate(source, package.special_tokens)
        self._tokenizer = Once(self._build_tokenizer)
        self._markers = Once(lambda: find_markers(source or "", self.tokenizer))

    def begin(self) -> None:
        """Begin to make both in a thread. What cannot be made is told to who asks for it."""

        def make() -> None:
            with suppress(BaseException):  # a panic in Rust is no Exception
                self._tokenizer.get()
            with suppress(BaseException):
                if self.template:
                    self.template.compile()

        # No daemon: one that is in a library's code when Python ends takes the process down with it.
        Thread(target=make, name="prompts").start()

    @property
    def tokenizer(self) -> Tokenizer:
        """The package's tokenizer. Raises: TextError when it has none."""
        return self._tokenizer.get()

    @property
    def markers(self) -> Reasoning | None:
        """How thinking is marked in the model's answers, None for models that do not think."""
        return self._markers.get()

    @property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end an answer: the package's and the tokenizer's."""
        return stop_ids_of(self._package, self.tokenizer if self._package.tokenizer else None)

    def require_template(self) -> ChatTemplate:
        """Return the chat template. Raises: RequestError when there is none."""
        if self.template is None:
            raise RequestError(
                "messages need a chat template, and this package has none",
                where=self._package.source,
                advice="give text to complete",
            )
        return self.template

    def render(self, prompt: Prompt, *, raw: bool = False, think: Think = None) -> Rendered:
        """Turn a prompt into token ids. `raw`, `think`: see `LanguageModel.stream`."""
        if isinstance(prompt, str):
            if not prompt:
                raise RequestError("the prompt is empty", advice="give some text")
            if raw or self.template is None:
                return Rendered(self.tokenizer.encode(prompt))
            messages: Ordered[Message] = [{"role": "user", "content": prompt}]
        elif _are_messages(prompt):
            messages = check_messages(prompt)
        else:
            return Rendered(token_ids(prompt))
        chat = Conversation(self.require_template(), self.tokenizer, messages=messages, think=think)
        return Rendered(chat.prompt_ids(), chat.prompt_text, chat.lasting)

    def _build_tokenizer(self) -> Tokenizer:
        tokenizer = build_tokenizer(self._package.tokenizer, self._package.special_tokens)
        if tokenizer is None:
            raise TextError(
                "no tokenizer", where=self._package.source, advice="give token ids instead of text, and read token_ids"
            )
        return tokenizer


def token_ids(ids: object) -> list[int]:
    """Return ids as plain numbers. Raises: RequestError for anything else, naming the first."""
    if not isinstance(ids, Iterable) or isinstance(ids, str | bytes | Mapping):
        raise RequestError("prompt", expected="a text, messages, or token ids", found=repr(ids)[:80])
    tokens = []
    for i, id in enumerate(ids):
        if isinstance(id, bool) or not isinstance(id, Integral):
            expected = "a token id, or messages only"
            raise RequestError(f"part {i} of the prompt", expected=expected, found=repr(id)[:80])
        tokens.append(int(id))
    return tokens


def check_messages(messages: Ordered[Any]) -> Ordered[Message]:
    """Return messages as they are. Raises: RequestError naming the first that is none."""
    for i, message in enumerate(messages):
        said = isinstance(message, Mapping) and ("content" in message or "tool_calls" in message)
        if not said or not isinstance(message.get("role"), str):
            raise RequestError(f"message {i}", expected="an object with role and content", found=repr(message)[:80])
    return messages


def _are_messages(prompt: object) -> TypeGuard[Ordered[Any]]:
    """Whether a prompt is meant as messages: a list that begins with one."""
    return isinstance(prompt, Ordered) and len(prompt) > 0 and isinstance(prompt[0], Mapping)
