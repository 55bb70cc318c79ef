"""A loaded model as people use it: text in, text out. `nearlight.load` makes one.

It keeps one sequence for itself, so that prompts which begin like the last one (a conversation's next turn) only
compute what is new.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from nearlight.decode.policy import SamplingPolicy
from nearlight.dtypes import F16, F32, Q8_0, Format
from nearlight.engine.backends import make_ops, packed_model
from nearlight.engine.binding import Progress, bind, declare, requantization
from nearlight.engine.chat import Chat
from nearlight.engine.completion import Completion
from nearlight.engine.engine import Engine
from nearlight.engine.generation import PrefillProgress, Rendered, Request, Stream
from nearlight.engine.prompts import Prompt, Prompts
from nearlight.errors import RequestError
from nearlight.kernels.ops import Float32
from nearlight.package import open_package
from nearlight.package.package import Package
from nearlight.text.answer import AnswerStream
from nearlight.text.template import ChatTemplate
from nearlight.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from nearlight.engine.counting import CountedModel
    from nearlight.engine.packed_model import PackedModel, PackedWeights
    from nearlight.limits.run import RunLimit

KV_FORMATS: dict[str, Format] = {"f16": F16, "q8": Q8_0, "f32": F32}


def load(
    source: str | Path,
    weights: str | None = None,
    kv: str | None = None,
    backend: str = "auto",
    threads: int | None = None,
    context: int | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> LanguageModel:
    """Load a model package: a Hugging Face directory or a GGUF file, in place.

    `weights` None keeps the stored bits; "bf16", "w8", "w6", "w4" re-quantize. `kv` is the format of
    the cache: "f16" (default), "q8" or "f32".
    `backend` is "auto", "cpu" or "reference" (needs torch). `cache` False neither reads nor writes the packed weights
    that `nearlight cache` lists.
    Units: `context` counts tokens; None is the model's own. `progress` is told bytes.
    Raises: NearlightError, one line, for anything wrong with the package or the request.
    """
    started = perf_counter()
    formats = requantization(weights)
    if kv is not None and kv not in KV_FORMATS:
        raise RequestError("kv", expected="one of " + ", ".join(KV_FORMATS), found=repr(kv))
    if context is not None and context < 1:
        raise RequestError("context", expected="at least 1 token", found=context)
    package = open_package(source)
    prompts = Prompts(package)
    prompts.begin()
    ops = make_ops(backend, threads)
    model = declare(package, ops)
    kept = packed_model(package, ops, weights) if cache else None
    bind(model, package, ops, formats, progress, kept)
    engine = Engine(model, ops, kv_format=KV_FORMATS[kv or "f16"], context=context)
    return LanguageModel(package, engine, prompts, load_s=perf_counter() - started, weights=weights, kept=kept)


class LanguageModel:
    """A model ready to run. Not to be used by two threads at once.

    Units: `context` counts tokens; `load_s` seconds. `weights` is what the stored bits were re-quantized to, if they
    were.
    """

    def __init__(
        self,
        package: Package,
        engine: Engine,
        prompts: Prompts | None = None,
        load_s: float = 0.0,
        weights: str | None = None,
        kept: PackedModel | None = None,
    ) -> None:
        self.package = package
        self.engine = engine
        self.load_s = load_s
        self._prompts = prompts or Prompts(package)
        self._weights = weights
        self._kept = kept
        self._sequence = engine.open()
        self._stream: Stream | None = None

    # -- what it is ------------------------------------------------------------------------------------------------

    @property
    def context(self) -> int:
        return self.engine.context

    @property
    def n_threads(self) -> int:
        return self.engine.ops.threads

    @property
    def packed_weights(self) -> PackedWeights | None:
        """Where the packed weights were read from, are written to, or why they are not kept; None without a cache."""
        return self._kept.outcome if self._kept else None

    @property
    def chats(self) -> bool:
        """Whether this is a chat model: its package has a chat template. Others complete text."""
        return self.template is not None

    @property
    def tokenizer(self) -> Tokenizer:
        """The package's tokenizer. Raises: TextError when it has none."""
        return self._prompts.tokenizer

    @property
    def template(self) -> ChatTemplate | None:
        return self._prompts.template

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end an answer: the package's and the tokenizer's."""
        return self._prompts.stop_ids

    def limits(self, *, fresh: bool = False) -> RunLimit:
        """Return how fast this model can be at most on this machine, whose read bandwidth is probed if that was never
        done or `fresh`.

        The limit of prefill needs peaks that take seconds to measure, so it is known only where they were.
        """
        from nearlight.kernels.cpu import probe
        from nearlight.limits.run import RunLimit

        read_bytes_per_s = probe.read_bytes_per_s(self.n_threads, fresh=fresh)
        known = probe.known_ceilings(self.n_threads)
        return RunLimit(self.counted, read_bytes_per_s, known.flops if known else None)

    @cached_property
    def counted(self) -> CountedModel:
        """This model on the counting kernels: what it keeps, and what its steps cost."""
        from nearlight.engine.counting import CountedModel
        from nearlight.kernels.count import ACCELERATOR, cpu_target
        from nearlight.kernels.cpu import CpuOps

        ops = self.engine.ops
        target = cpu_target(ops.isa) if isinstance(ops, CpuOps) else ACCELERATOR
        kv_format = self.engine.cache.format
        return CountedModel.of_package(self.package, self._weights, kv_format=kv_format, target=target)

    # -- what it does ----------------------------------------------------------------------------------------------

    def logits(self, ids: Ordered[int]) -> Float32:
        """Compute the logits after every token. Shapes: ids [T] -> float32 [T, V]."""
        if not len(ids):
            raise RequestError("no token ids", advice="give at least one")
        sequence = self.engine.open()
        try:
            self.engine.extend(sequence, [int(id) for id in ids])
            return self.engine.logits(sequence)
        finally:
            self.engine.close(sequence)

    def generate(self, prompt: Prompt, **options: Any) -> Completion:
        """Answer (or complete) a prompt and return everything at once; the options are those of `stream`."""
        return self.stream(prompt, **options).finish()

    def stream(self, prompt: Prompt, *, raw: bool = False, think: bool | None = None, **options: Any) -> Stream:
        """Answer (or complete) a prompt piece by piece; the other options are those of `stream_rendered`.

        A string is a user's message to a chat model, and text to continue for others, or with `raw`. Messages are
        rendered by the chat template, ids taken as they are. `think` is passed to templates that can turn thinking
        on and off.
        Raises: RequestError for an empty prompt, one longer than the context, or ids out of range.
        """
        return self.stream_rendered(self.render(prompt, raw=raw, think=think), **options)

    def conversation(self, system: str | None = None, *, think: bool | None = None) -> Chat:
        """Start a chat. Raises: RequestError when the package has no chat template."""
        return Chat(self, system, think=think)

    def render(self, prompt: Prompt, *, raw: bool = False, think: bool | None = None) -> Rendered:
        """Turn a prompt into token ids."""
        return self._prompts.render(prompt, raw=raw, think=think)

    def require_template(self) -> ChatTemplate:
        """Return the chat template. Raises: RequestError when there is none."""
        return self._prompts.require_template()

    def stream_rendered(
        self,
        prompt: Rendered,
        *,
        max_tokens: int | None = None,
        stop: str | Ordered[str] = (),
        thinking_budget: int | None = None,
        on_prefill: PrefillProgress | None = None,
        on_end: Callable[[Completion], None] | None = None,
        **policy: Any,
    ) -> Stream:
        """Continue token ids. What is given of `SamplingPolicy`'s fields overrides the package's defaults.

        `stop` are strings before which the answer ends; `on_end` is told the completion, however the stream ends.
        Units: `max_tokens` and `thinking_budget` count tokens; None is no limit but the context.
        """
        if self._stream:
            self._stream.close()
        request = Request(
            prompt_ids=prompt.ids,
            policy=SamplingPolicy.from_generation(self.package.generation, **policy),
            stop_ids=self.stop_ids,
            n_tokens=self.tokenizer.n_tokens if self.package.tokenizer else self.engine.model.vocab_size,
            max_tokens=max_tokens,
            thinking_budget=thinking_budget,
            on_prefill=on_prefill,
        )
        answer = None
        if self.package.tokenizer:
            chats = prompt.text is not None
            markers = self._prompts.markers if chats else None
            opened = markers is not None and markers.opened_by(prompt.text or "")
            stops = [stop] if isinstance(stop, str) else stop
            answer = AnswerStream(self.tokenizer, stops=stops, markers=markers, opened=opened, continues=not chats)
        self._stream = Stream(self.engine, self._sequence, request, answer, load_s=self.load_s, on_end=on_end)
        return self._stream
