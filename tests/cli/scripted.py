"""A model that says what it is told to, so that what the command line shows can be known in advance.

`python -m tests.cli.scripted ANSWERS.json …` is the command line with this model in place of any real one: ANSWERS is a
list of answers, each a list of [text, channel] pieces, given in turn.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nearlight.engine.completion import Completion
from nearlight.errors import RequestError
from nearlight.limits.run import RunLimit
from nearlight.package.package import Package
from nearlight.text.streaming import Piece
from tests.signals import a_signal

Answer = Sequence[tuple[str, str]]
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


class ScriptedStream:
    """Gives the pieces of one answer, a token each; after `waits_after` of them it waits for a signal."""

    def __init__(
        self, answer: Answer, waits_after: int | None = None, on_end: Callable[[Completion], None] | None = None
    ) -> None:
        self.completion = Completion(prompt_tokens=7, cached_tokens=3)
        self._on_end = on_end
        self._pieces = self._run(answer, waits_after)

    def __iter__(self) -> Iterator[Piece]:
        return self._pieces

    def close(self) -> None:
        self._pieces.close()

    def _run(self, answer: Answer, waits_after: int | None) -> Iterator[Piece]:
        completion, timing = self.completion, self.completion.timing
        timing.prefill_s, timing.prefill_tokens, timing.ttft_s, timing.load_s = 0.25, 4, 0.251, 1.5
        try:
            for i, (text, channel) in enumerate(answer):
                completion.token_ids.append(i)
                if channel == "answer":
                    completion.text += text
                else:
                    completion.thinking += text
                timing.decode_steps, timing.decode_s = i, i / 20  # 20 tokens a second
                with a_signal() if i + 1 == waits_after else nullcontext() as wait:
                    yield Piece(text, channel)  # type: ignore[arg-type]
                    if wait:
                        wait()
            completion.finish_reason = "stop"
        finally:
            if self._on_end:
                self._on_end(completion)


class ScriptedChat:
    def __init__(self, model: ScriptedModel, system: str | None) -> None:
        self.model, self.system = model, system
        self.messages: list[dict[str, Any]] = []

    def say(self, text: str, **options: Any) -> ScriptedStream:
        self.model.asked.append((text, options))
        self.messages.append({"role": "user", "content": text})
        return self.model.next_stream(lambda done: self.messages.append({"role": "assistant", "content": done.text}))

    def restore(self, messages: Sequence[Mapping[str, Any]]) -> None:
        if any("role" not in message for message in messages):
            raise RequestError("message 0", expected="an object with role and content")
        self.messages = [dict(message) for message in messages]

    def clear(self) -> None:
        self.messages = []


class ScriptedModel:
    """Stands in for a LanguageModel. `asked` are the prompts it got, with their options.

    Its first answer waits for a signal after `waits_after` pieces.
    """

    context, n_threads, load_s = 512, 3, 1.5

    def __init__(self, answers: Sequence[Answer], *, chats: bool = True, waits_after: int | None = None) -> None:
        self.answers, self.chats, self.waits_after = list(answers), chats, waits_after
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.package = Package(Path("scripted"), "huggingface", "Scripted-7B", {"model_type": "llama"}, {})
        self.tokenizer = SimpleNamespace(token_text=lambda id: f"<{id}>")

    def next_stream(self, on_end: Callable[[Completion], None] | None = None) -> ScriptedStream:
        answer = self.answers.pop(0) if self.answers else [("nothing more", "answer")]
        waits_after, self.waits_after = self.waits_after, None
        return ScriptedStream(answer, waits_after, on_end)

    def stream(self, prompt: Any, **options: Any) -> ScriptedStream:
        self.asked.append((prompt, options))
        return self.next_stream()

    def conversation(self, system: str | None = None, *, think: bool | None = None) -> ScriptedChat:
        return ScriptedChat(self, system)

    def limits(self, *, fresh: bool = False) -> RunLimit:
        return RunLimit(Costs(), BYTES_PER_S, {"fp32": 1e9})


def main() -> int:
    import nearlight
    from nearlight.cli import main as cli

    script = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    nearlight.load = lambda source, **options: ScriptedModel(**script)  # type: ignore[assignment]
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
