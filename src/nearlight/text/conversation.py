"""A chat whose every turn continues the token ids already in the cache.

Rendering and tokenizing the whole chat anew each turn gives nearly the same ids as last time, and "nearly" throws the
cache away. So ids once given to or produced by the model are kept as they are, and only the text that is new gets
tokenized. For that the new rendering must begin with the old one. Some templates break this on purpose (Qwen3 drops
the thinking of earlier turns); then the longest part that still agrees is kept, and `continues_cache` says so
beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nearlight.errors import TextError
from nearlight.text.switches import Think
from nearlight.text.template import ChatTemplate, Message
from nearlight.text.thinking import find_markers
from nearlight.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class _Agreed:
    """Text the model has seen, and the very ids it saw it as."""

    text: str
    ids: tuple[int, ...]


class Conversation:
    """Holds the messages of a chat and the ids they were, turn after turn.

    `tools`, `think` and `variables` go to the template every time, as `ChatTemplate.render` takes them. Set `messages`
    freely between turns: what no longer agrees with the past is tokenized anew.
    """

    def __init__(
        self,
        template: ChatTemplate,
        tokenizer: Tokenizer,
        *,
        messages: Sequence[Message] = (),
        tools: Sequence[Mapping[str, Any]] | None = None,
        think: Think = None,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        self.template, self.tokenizer, self.think = template, tokenizer, think
        self.messages: list[dict[str, Any]] = [dict(message) for message in messages]
        self.tools, self.variables = tools, dict(variables or {})
        self.prompt_text = ""
        self._prompt: _Agreed | None = None
        self._past: list[_Agreed] = []

    def add(self, role: str, content: Any, **fields: Any) -> None:
        """Append a message."""
        self.messages.append({"role": role, "content": content, **fields})

    def prompt_ids(self) -> list[int]:
        """Return the ids of the whole prompt for the next answer; they begin with as many known ids as possible.

        Raises: TextError where the template cannot render these messages.
        """
        self._prompt = self._rendered(self.messages)
        self.prompt_text = self._prompt.text
        return list(self._prompt.ids)

    def lasting(self) -> int:
        """Return how many ids of the prompt the next one will begin with, whatever the answer.

        Fewer than all where the template opens an answer in another way than it shows earlier ones, with `<think>` say.
        """
        prompt = self._prompt
        if prompt is None:
            raise TextError("there is no prompt yet", where="conversation")
        answer = {"role": "assistant", "content": ".", "reasoning_content": "."}
        try:
            later = self._text([*self.messages, answer, {"role": "user", "content": "."}])
        except TextError:
            return 0
        changing = prompt.text[common_prefix(prompt.text, later) :]
        n_ids = len(prompt.ids)
        while n_ids and len(self.tokenizer.decode(prompt.ids[n_ids:], special=True, continues=True)) < len(changing):
            n_ids -= 1
        return n_ids

    def count(self, messages: Sequence[Message]) -> int:
        """Return how many ids the prompt would be if these were the messages.

        Raises: TextError where the template cannot render them.
        """
        return len(self._rendered(messages).ids)

    def _rendered(self, messages: Sequence[Message]) -> _Agreed:
        text = self._text(messages)
        agreed = max((past for past in self._past if text.startswith(past.text)), key=_length, default=None)
        if agreed is None:
            return _Agreed(text, tuple(self.tokenizer.encode(text, special=False)))
        new = self.tokenizer.encode_continuation(text[len(agreed.text) :])
        return _Agreed(text, (*agreed.ids, *new))

    def _text(self, messages: Sequence[Message]) -> str:
        return self.template.render(messages, tools=self.tools, think=self.think, **self.variables)

    def record(self, ids: Sequence[int], content: str, *, reasoning: str | None = None, **fields: Any) -> None:
        """Take the model's answer: the ids it produced (its stop token included, if any) and what they say.

        `content` is the answer's text and `reasoning` the thinking before it, as the stream separated them.
        """
        if self._prompt is None:
            raise TextError("an answer was recorded before a prompt was made", where="conversation")
        prompt, self._prompt = self._prompt, None
        extra = {} if reasoning is None else {"reasoning_content": reasoning}
        self.add("assistant", content, **extra, **fields)
        # The answer's ids may be kept if the next rendering repeats its text. White space around it does not count:
        # templates trim answers or set a space before them, and what the model did write is the better record.
        raw = self.tokenizer.decode(ids, special=True, continues=True)
        seen = (*prompt.ids, *ids)
        stopped = bool(ids) and ids[-1] in self.tokenizer.special_ids
        end = self.tokenizer.decode(ids[-1:], special=True, continues=True) if stopped else ""
        spoken = raw.removesuffix(end)
        spellings = dict.fromkeys((spoken, spoken.rstrip(), spoken.lstrip(), spoken.strip(), " " + spoken.strip()))
        self._past.append(prompt)
        self._past += [_Agreed(prompt.text + spelling + end, seen) for spelling in spellings]
        self._past = self._past[-_REMEMBERED:]

    def clear(self) -> None:
        """Forget all messages and ids."""
        self.messages, self._past, self._prompt, self.prompt_text = [], [], None, ""


_REMEMBERED = 5 * 16  # spellings of the last sixteen turns: enough to go back in an edited chat


def _length(agreed: _Agreed) -> int:
    return len(agreed.text)


def common_prefix(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Return how much two sequences share from the start: of ids, what a cache can keep."""
    for i, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return i
    return min(len(left), len(right))


def continues_cache(template: ChatTemplate, **variables: Any) -> tuple[bool, str]:
    """Try a short chat: does each turn's rendering begin with the one before? Returns the verdict and its reason.

    Raises: TextError where the template cannot render a plain chat at all.
    """
    question = {"role": "user", "content": "First question?"}
    again = {"role": "user", "content": "Second question?"}
    plain = {"role": "assistant", "content": "First answer."}
    first = template.render([question], **variables)
    thought = {**plain, "reasoning_content": "A thought."}
    if find_markers(template.source) and "A thought." not in template.render([question, thought, again], **variables):
        return False, "the template drops the thinking of earlier turns, so answers that think are read again"
    # A space between prompt and answer (Mistral) is the model's to write.
    if not _follows(first, plain["content"], template.render([question, plain, again], **variables)):
        return False, _why_not(template, question, plain, again, first, variables)
    second = template.render([question, plain, again], **variables)
    third = [question, plain, again, {"role": "assistant", "content": "Second answer."}, question]
    if not template.render(third, **variables).startswith(second):
        return False, "the template renders earlier turns differently once newer ones follow"
    return True, "each turn continues the last"


def _follows(prompt: str, answer: str, rendered: str) -> bool:
    return rendered.startswith(prompt) and rendered[len(prompt) :].lstrip(" ").startswith(answer)


def _why_not(
    template: ChatTemplate, question: Message, plain: Message, again: Message, first: str, variables: Mapping[str, Any]
) -> str:
    follow_up = template.render([question, plain, again], **variables)
    unprompted = template.render([question], add_generation_prompt=False, **variables)
    if follow_up.startswith(first):
        return "the template changes the text of answers, so each answer is read again in the next turn"
    if follow_up.startswith(unprompted):
        return "the template opens an answer differently from how it shows earlier answers"
    return "the template renders earlier turns differently once newer ones follow"
