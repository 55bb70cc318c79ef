"""A model that says what it is told to, so that what the command line shows can be known in advance.

`python -m tests.cli.scripted ANSWERS.json …` is the command line with this model in place of any real one: ANSWERS is a
list of answers, each a list of [text, channel] pieces, given in turn.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nearlight.engine.chat import Chat
from nearlight.engine.completion import Completion
from nearlight.engine.generation import Rendered
from nearlight.errors import RequestError
from nearlight.limits.run import RunLimit
from nearlight.package.package import Package
from nearlight.text.conversation import common_prefix
from nearlight.text.streaming import Piece
from nearlight.text.template import ChatTemplate
from tests.signals import a_signal

Answer = Sequence[tuple[str, str]]
OnEnd = Callable[[Completion], None]
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% if enable_thinking %}Hm. {% endif %}{% endif %}"
)
"""Of three words besides a message's own."""

BYTES_PER_S = 10e9


class Costs:
    """A model that reads 50 MB a step, and 1 kB for every token in the cache."""

    weight_bytes = 50_000_000

    def kv_bytes(self, n_tokens: int) -> int:
        return 1000 * n_tokens

    def decode(self, context: int, batch: int = 1) -> SimpleNamespace:
        return SimpleNamespace(bytes_read=self.weight_bytes + self.kv_bytes(context), bytes_written=0, operations={})

    def prefill(self, n_prompt: int, chunk: int | None = None, start: int = 0) -> list[SimpleNamespace]:
        return [SimpleNamespace(bytes_read=0, bytes_written=0, operations={"fp32": 1e6 * n_prompt})]


class Words:
    """A tokenizer whose tokens are words with the space after them, numbered as they come."""

    special_ids: frozenset[int] = frozenset()
    n_tokens = 1000

    def __init__(self) -> None:
        self._words: list[str] = []

    def id_of(self, word: str) -> int:
        if word not in self._words:
            self._words.append(word)
        return self._words.index(word)

    def encode(self, text: str, special: bool = True) -> list[int]:
        return [self.id_of(word) for word in re.findall(r"\S+\s*|\s+", text)]

    encode_continuation = encode

    def decode(self, ids: Sequence[int], special: bool = False, continues: bool = False) -> str:
        return "".join(self._words[id] for id in ids)

    def token_text(self, id: int) -> str:
        return f"<{id}>"


class ScriptedStream:
    """Gives the pieces of one answer, a token each; after so many as `waits_after` lists it waits for a signal."""

    def __init__(
        self, model: ScriptedModel, ids: Sequence[int], max_tokens: int | None, on_end: OnEnd | None = None
    ) -> None:
        self.completion = Completion(prompt_tokens=len(ids), cached_tokens=common_prefix(model.held, ids))
        model.held = list(ids)
        self.left_out_s = 0.0
        self._model, self._max_tokens, self._on_end = model, max_tokens, on_end
        waits_after, model.waits_after = model.waits_after, ()
        answer = model.answers.pop(0) if model.answers else [("nothing more", "answer")]
        self._pieces = self._run(answer, waits_after)

    def __iter__(self) -> Iterator[Piece]:
        return self._pieces

    def close(self) -> None:
        self._pieces.close()
        self._end()

    def leave_out(self, seconds: float) -> None:
        self.left_out_s += seconds

    def _run(self, answer: Answer, waits_after: Sequence[int]) -> Iterator[Piece]:
        completion, timing = self.completion, self.completion.timing
        timing.prefill_s, timing.prefill_tokens, timing.ttft_s, timing.load_s = 0.25, 4, 0.251, 1.5
        try:
            for i, (text, channel) in enumerate(answer):
                completion.token_ids.append(self._model.tokenizer.id_of(text))
                if channel == "answer":
                    completion.text += text
                else:
                    completion.thinking += text
                timing.decode_steps, timing.decode_s = i, i / 20  # 20 tokens a second
                with a_signal() if i + 1 in waits_after else nullcontext() as wait:
                    yield Piece(text, channel)  # type: ignore[arg-type]
                    if wait:
                        wait()
                if i + 1 == self._max_tokens:
                    completion.limit_reached = "max_tokens"
                    break
                if completion.prompt_tokens + i + 1 > self._model.context:
                    completion.limit_reached = "context"
                    break
            completion.finish_reason = "length" if completion.limit_reached else "stop"
        finally:
            self._end()

    def _end(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end:
            on_end(self.completion)


class ScriptedModel:
    """Stands in for a LanguageModel. `asked` are the prompts it got, with their options.

    Its first answer waits for a signal after so many pieces as `waits_after` lists.
    """

    n_threads, load_s, packed_weights = 3, 1.5, None

    def __init__(
        self, answers: Sequence[Answer], *, chats: bool = True, waits_after: Sequence[int] = (), context: int = 512
    ) -> None:
        self.answers, self.chats, self.context = list(answers), chats, context
        self.waits_after = waits_after
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.held: list[int] = []
        self.package = Package(Path("scripted"), "huggingface", "Scripted-7B", {"model_type": "llama"}, {})
        self.tokenizer = Words()

    def render(self, prompt: Any, *, raw: bool = False, think: bool | None = None) -> Rendered:
        if raw or not self.chats:
            return Rendered(self.tokenizer.encode(prompt))
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        text = self.require_template().render(messages)
        return Rendered(self.tokenizer.encode(text), text)

    def stream(self, prompt: Any, *, raw: bool = False, think: bool | None = None, **options: Any) -> ScriptedStream:
        return self.stream_rendered(self.render(prompt, raw=raw), **options)

    def stream_rendered(
        self, prompt: Rendered, *, on_prefill: Any = None, on_end: OnEnd | None = None, **options: Any
    ) -> ScriptedStream:
        if len(prompt.ids) > self.context:
            raise RequestError("prompt and answer are longer than the context")
        self.asked.append((prompt.text or self.tokenizer.decode(prompt.ids), options))
        return ScriptedStream(self, prompt.ids, options.get("max_tokens"), on_end)

    def conversation(self, system: str | None = None, *, think: bool | None = None) -> Chat:
        return Chat(self, system, think=think)  # type: ignore[arg-type]

    def require_template(self) -> ChatTemplate:
        return ChatTemplate(TEMPLATE)

    def limits(self, *, fresh: bool = False, after: Completion | None = None) -> RunLimit:
        return RunLimit(Costs(), BYTES_PER_S, {"fp32": 1e9})


def main() -> int:
    import nearlight
    from nearlight.cli import main as cli

    script = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    nearlight.load = lambda source, **options: ScriptedModel(**script)  # type: ignore[assignment]
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
