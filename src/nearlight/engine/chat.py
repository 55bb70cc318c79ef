"""A chat with a model: messages, and answers that continue what the cache already holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from nearlight.engine.completion import Completion
from nearlight.engine.generation import Rendered
from nearlight.engine.options import AnswerOptions, spelled_out
from nearlight.engine.stream import Stream
from nearlight.errors import RequestError
from nearlight.text.conversation import Conversation
from nearlight.text.switches import Think, knows_levels

if TYPE_CHECKING:
    from nearlight.engine.language_model import LanguageModel


class Chat:
    """Say something, read the stream; both stay in `messages`, also an answer that was stopped half-way.

    `think` is told to templates that know of it: whether to think, or how hard.
    """

    def __init__(self, model: LanguageModel, system: str | None = None, *, think: Think = None) -> None:
        self._model = model
        self._conversation = Conversation(model.require_template(), model.tokenizer, think=think)
        self._stream: Stream | None = None
        self._replaced: list[dict[str, Any]] = []
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

    @property
    def turns(self) -> list[list[dict[str, Any]]]:
        """The messages in turns, each from what a person said to what came of it; the system message is in none."""
        turns: list[list[dict[str, Any]]] = []
        for message in self.messages[len(self._head) :]:
            if message["role"] == "user" or not turns:
                turns.append([])
            turns[-1].append(message)
        return turns

    @property
    def think(self) -> Think:
        """Whether the template is asked for thinking, or how much; None leaves it to the template."""
        return self._conversation.think

    @think.setter
    def think(self, think: Think) -> None:
        self._conversation.think = think

    def can_think(self, think: Think = True) -> bool:
        """Try whether the template heeds `think`: whether it knows levels, or a prompt is another than without."""
        question = [{"role": "user", "content": "Why?"}]
        render = self._conversation.template.render
        if isinstance(think, str):
            return knows_levels(self._conversation.template.variables)
        return render(question, think=True) != render(question, think=False)

    def restore(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Go on from saved messages. Raises: RequestError naming the first that is none."""
        for i, message in enumerate(messages):
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str) or "content" not in message:
                raise RequestError(f"message {i}", expected="an object with role and content", found=repr(message)[:80])
        self._settle()
        self._conversation.clear()
        self._conversation.messages = [dict(message) for message in messages]

    def clear(self) -> None:
        """Forget everything said; the system message stays."""
        self._settle()
        system = self.system
        self._conversation.clear()
        self.system = system

    def undo(self) -> str:
        """Take the last turn back; return what was said. Raises: RequestError where there is none."""
        self._settle()
        turn = self._last_turn()
        del self.messages[-len(turn) :]
        said = turn[0]["content"]
        return said if isinstance(said, str) else ""

    def trim(self, n_turns: int = 1) -> list[dict[str, Any]]:
        """Forget the oldest turns; return their messages. The system message stays."""
        self._settle()
        dropped, kept = self.turns[:n_turns], self.turns[n_turns:]
        self._conversation.messages = [*self._head, *_joined(kept)]
        return _joined(dropped)

    def prompt_tokens(self, text: str | None = None, *, without: int = 0) -> int:
        """Count the tokens of the prompt if `text` were said next, or else if the last message were answered anew,
        and the oldest turns, `without` of them, were forgotten.
        """
        if text is None:
            *turns, last = [*self.turns[:-1], self._last_turn()]
            said = last[0]
        else:
            turns, said = self.turns, {"role": "user", "content": text}
        return self._conversation.count([*self._head, *_joined(turns[without:]), said])

    @spelled_out(AnswerOptions)
    def say(self, text: str, **options: Unpack[AnswerOptions]) -> Stream:
        """Say something and stream the answer; the options are those of `LanguageModel.stream`.

        Raises: RequestError when the chat is longer than the context; what was said is then taken back.
        """
        conversation = self._conversation
        if not isinstance(text, str):
            raise RequestError("what is said", expected="a text", found=repr(text)[:80])
        if not text:
            raise RequestError("the prompt is empty", advice="say something")
        self._settle()
        conversation.add("user", text)
        try:
            prompt = Rendered(conversation.prompt_ids(), conversation.prompt_text, conversation.lasting)
            self._stream = self._model.stream_rendered(prompt, on_end=self._record, **options)
        except BaseException:
            conversation.messages.pop()
            raise
        return self._stream

    @spelled_out(AnswerOptions)
    def regenerate(self, **options: Unpack[AnswerOptions]) -> Stream:
        """Stream another answer to the last message; the options are those of `say`.

        The answer before is gone when the first token of the new one is there, and stays if none comes.
        Raises: RequestError where nothing was said.
        """
        self._settle()
        turn = self._last_turn()
        text = self.undo()
        try:
            stream = self.say(text, **options)
        except BaseException:
            self.messages.extend(turn)
            raise
        self._replaced = turn
        return stream

    @property
    def _head(self) -> list[dict[str, Any]]:
        return self.messages[: self.system is not None]

    def _last_turn(self) -> list[dict[str, Any]]:
        turns = self.turns
        if not turns or turns[-1][0]["role"] != "user":
            raise RequestError("nothing was said yet")
        return turns[-1]

    def _settle(self) -> None:
        """End an answer that is still under way, so that it stands in its place."""
        stream, self._stream = self._stream, None
        if stream:
            stream.close()

    def _record(self, completion: Completion) -> None:
        replaced, self._replaced = self._replaced, []
        if not completion.token_ids:  # stopped before anything came; an empty answer would puzzle the model
            self.messages.pop()
            self.messages.extend(replaced)
            return
        self._conversation.record(completion.token_ids, completion.text, reasoning=completion.thinking or None)


def _joined(turns: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [message for turn in turns for message in turn]
