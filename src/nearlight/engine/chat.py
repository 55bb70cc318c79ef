"""A chat with a model: messages, and answers that continue what the cache already holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from nearlight.engine.completion import Completion
from nearlight.engine.generation import Rendered, Stream
from nearlight.engine.options import AnswerOptions, spelled_out
from nearlight.errors import RequestError
from nearlight.text.conversation import Conversation

if TYPE_CHECKING:
    from nearlight.engine.language_model import LanguageModel


class Chat:
    """Say something, read the stream; both stay in `messages`, also an answer that was stopped half-way.

    `think` is passed to templates that can turn thinking on and off.
    """

    def __init__(self, model: LanguageModel, system: str | None = None, *, think: bool | None = None) -> None:
        variables = {} if think is None else {"enable_thinking": think}
        self._model = model
        self._conversation = Conversation(model.require_template(), model.tokenizer, variables=variables)
        self.system = system

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The chat as role and content, the system message first; may be saved as JSON."""
        return self._conversation.messages

    @property
    def system(self) -> str | None:
        first = self.messages[0] if self.messages else {}
        return str(first["content"]) if first.get("role") == "system" else None

    @system.setter
    def system(self, text: str | None) -> None:
        rest = self.messages[1:] if self.system is not None else self.messages
        self._conversation.messages = ([{"role": "system", "content": text}] if text else []) + rest

    def restore(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Go on from saved messages. Raises: RequestError naming the first that is none."""
        for i, message in enumerate(messages):
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str) or "content" not in message:
                raise RequestError(f"message {i}", expected="an object with role and content", found=repr(message)[:80])
        self._conversation.clear()
        self._conversation.messages = [dict(message) for message in messages]

    def clear(self) -> None:
        """Forget everything said; the system message stays."""
        system = self.system
        self._conversation.clear()
        self.system = system

    @spelled_out(AnswerOptions)
    def say(self, text: str, **options: Unpack[AnswerOptions]) -> Stream:
        """Say something and stream the answer; the options are those of `LanguageModel.stream`.

        Raises: RequestError when the chat is longer than the context; what was said is then taken back.
        """
        conversation = self._conversation
        if not text:
            raise RequestError("the prompt is empty", advice="say something")
        if not isinstance(text, str):
            raise RequestError("what is said", expected="a text", found=repr(text)[:80])
        conversation.add("user", text)
        try:
            prompt = Rendered(conversation.prompt_ids(), conversation.prompt_text)
            return self._model.stream_rendered(prompt, on_end=self._record, **options)
        except BaseException:
            conversation.messages.pop()
            raise

    def _record(self, completion: Completion) -> None:
        if not completion.token_ids:  # stopped before anything came; an empty answer would puzzle the model
            self.messages.pop()
            return
        self._conversation.record(completion.token_ids, completion.text, reasoning=completion.thinking or None)
