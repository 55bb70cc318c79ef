"""A loaded model as people use it: text in, text out. `nearlight.load` makes one.

It keeps one sequence for itself, so that prompts which begin like the last one (a conversation's next turn) only
compute what is new.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from collections.abc import Sequence as Ordered
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Unpack

from nearlight.decode.policy import SamplingPolicy
from nearlight.engine.chat import Chat
from nearlight.engine.completion import Completion
from nearlight.engine.engine import Engine
from nearlight.engine.generation import Generation, Rendered, Request
from nearlight.engine.options import (
    AnswerOptions,
    check_options,
    check_switch,
    check_think,
    check_whole,
    policy_of,
    spelled_out,
    stops_of,
)
from nearlight.engine.prompts import Prompt, Prompts, token_ids
from nearlight.engine.scheduler import Scheduler
from nearlight.engine.stream import Stream
from nearlight.errors import RequestError
from nearlight.kernels.ops import Float32
from nearlight.loading.backends import make_ops
from nearlight.loading.binding import Progress, load_model
from nearlight.loading.source import find_model
from nearlight.models.weight_formats import nearest_kind, requantization, said_of
from nearlight.package import open_package
from nearlight.package.package import Package
from nearlight.state.kv_format import kv_format_named
from nearlight.text.answer import AnswerStream
from nearlight.text.switches import Think
from nearlight.text.template import ChatTemplate
from nearlight.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from nearlight.counting.counted_model import CountedModel
    from nearlight.limits.run import RunLimit
    from nearlight.loading.packed_model import PackedModel, PackedWeights


def load(
    source: str | os.PathLike[str],
    weights: str | None = None,
    kv: str | None = None,
    backend: str = "auto",
    threads: int | None = None,
    context: int | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> LanguageModel:
    """Load a model: a Hugging Face directory or a .gguf file, in place; "pico", which is embedded; or one of the hub.

    A hub id like "Qwen/Qwen3-0.6B" is downloaded if it is new here. A name of the catalogue like "qwen3-0.6b" is
    looked for among what was downloaded.

    `weights` None keeps the stored bits; "bf16", "w8", "w6", "w4" re-quantize, and what others call such formats
    ("q4_k_m", "int8") is the nearest of these, with a warning. `kv` is the format of the KV cache: "f16", "q8" or
    "f32"; None is f32 where all weights have 32 bits, else f16.
    `backend` is "auto", "cpu" or "reference" (needs torch). `cache` False neither reads nor writes the packed weights
    that `nearlight cache` lists.
    Units: `context` counts tokens; None is the model's own. `progress` is told bytes: done, and in all, of a download
    and then of loading.
    Raises: NearlightError, one line, for anything wrong with the package or the request.
    """
    for name, value in (("weights", weights), ("kv", kv), ("backend", backend)):
        if value is not None and not isinstance(value, str):
            raise RequestError(name, expected="a name", found=repr(value)[:80])
    formats = requantization(_kind_of(weights))
    kv_format = kv_format_named(kv)
    check_whole("context", context, at_least=1)
    check_whole("threads", threads, at_least=1)
    check_switch("cache", cache)
    path = find_model(source, progress)
    started = perf_counter()
    package = open_package(path)
    prompts = Prompts(package)
    prompts.begin()
    ops = make_ops(backend, threads)
    model, kept = load_model(package, ops, formats, progress, keep=cache)
    engine = Engine(model, ops, kv_format=kv_format, context=context)
    weights = formats.name if formats else None
    return LanguageModel(package, engine, prompts, load_s=perf_counter() - started, weights=weights, kept=kept)


def _kind_of(weights: str | None) -> str | None:
    """Return the kind of weights that a name means, with a warning where it is another one's name for it."""
    if weights is None:
        return None
    if (note := said_of(weights)) is not None:
        warnings.warn(note, stacklevel=3)
    return nearest_kind(weights)


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
        self._scheduler = Scheduler(engine)
        self._sequence = engine.open()
        self._stream: Stream | None = None
        self._limit_after: tuple[Completion, RunLimit] | None = None

    def __repr__(self) -> str:
        return f"<nearlight model {self.package.name}: {self.package.model_type}, context {self.context}>"

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

    def limits(self, *, fresh: bool = False, after: Completion | None = None) -> RunLimit:
        """Return how fast this model can be at most on this machine, whose bandwidths are probed if that was never done
        or `fresh`.

        `after` is an answer that has just ended: then the machine is glanced at, for a tenth of a second, and if it is
        no longer as it was, the limit is that of its present state. Answers too short to have a share are not worth it.
        The limit of prefill needs peaks that take seconds to measure, so it is known only where they were.
        """
        from nearlight.machine.hardware import limit_after, limit_here

        if after and self._limit_after and self._limit_after[0] is after:
            return self._limit_after[1]  # whoever asks again is told the same
        if after and after.has_share and (speed := after.timing.decode_tok_s):
            limit = limit_after(self.counted, self.n_threads, speed, after.mean_context)
            self._limit_after = after, limit
            return limit
        return limit_here(self.counted, self.n_threads, fresh=fresh)

    @cached_property
    def counted(self) -> CountedModel:
        """This model on the counting kernels: what it keeps, and what its steps cost."""
        from nearlight.counting.counted_model import CountedModel
        from nearlight.kernels.count import ACCELERATOR, cpu_target
        from nearlight.kernels.cpu import CpuOps

        ops = self.engine.ops
        target = cpu_target(ops.isa) if isinstance(ops, CpuOps) else ACCELERATOR
        kv_format = self.engine.cache.format
        return CountedModel.of_package(self.package, self._weights, kv_format=kv_format, target=target)

    # -- what it does ----------------------------------------------------------------------------------------------

    def logits(self, ids: Ordered[int]) -> Float32:
        """Compute the logits after every token. Shapes: ids [T] -> float32 [T, V]."""
        tokens = token_ids(ids)
        if not tokens:
            raise RequestError("no token ids", advice="give at least one")
        sequence = self.engine.open()
        try:
            self.engine.extend(sequence, tokens)
            return self.engine.logits(sequence)
        finally:
            self.engine.close(sequence)

    @spelled_out(AnswerOptions)
    def generate(
        self, prompt: Prompt, *, raw: bool = False, think: Think = None, **options: Unpack[AnswerOptions]
    ) -> Completion:
        """Answer (or complete) a prompt and return everything at once; prompt and options are those of `stream`."""
        return self.stream(prompt, raw=raw, think=think, **options).finish()

    @spelled_out(AnswerOptions)
    def stream(
        self, prompt: Prompt, *, raw: bool = False, think: Think = None, **options: Unpack[AnswerOptions]
    ) -> Stream:
        """Answer (or complete) a prompt piece by piece.

        A string is a user's message to a chat model, and text to continue for others, or with `raw`. Messages (role
        and content) are rendered by the chat template, ids taken as they are. `think` True or False is told
        to templates that can turn thinking on and off; "low", "medium", "high" or "max" to those that know levels.

        `stop` are texts before which the answer ends; `on_prefill` is told the prompt tokens computed so far, and in
        all. The rest says how tokens are chosen, and what is not given is as the package says: `temperature` 0 is
        greedy, the same `seed` draws the same tokens, `logit_bias` maps token ids to what is added to their logits,
        `logprobs` n asks for log-probabilities, of each token and of the n most probable.
        Units: `max_tokens` and `thinking_budget` count tokens; None is no limit but the context.
        Raises: RequestError for an empty prompt, one longer than the context, ids or options out of range.
        """
        check_options(options)
        check_switch("raw", raw)
        check_think(think)
        return self.stream_rendered(self.render(prompt, raw=raw, think=think), **options)

    def conversation(self, system: str | None = None, *, think: Think = None) -> Chat:
        """Start a chat. Raises: RequestError when the package has no chat template."""
        if system is not None and not isinstance(system, str):
            raise RequestError("system", expected="a text", found=repr(system)[:80])
        check_think(think)
        return Chat(self, system, think=think)

    def render(self, prompt: Prompt, *, raw: bool = False, think: Think = None) -> Rendered:
        """Turn a prompt into token ids."""
        return self._prompts.render(prompt, raw=raw, think=think)

    def require_template(self) -> ChatTemplate:
        """Return the chat template. Raises: RequestError when there is none."""
        return self._prompts.require_template()

    @spelled_out(AnswerOptions)
    def stream_rendered(
        self,
        prompt: Rendered,
        *,
        on_end: Callable[[Completion], None] | None = None,
        **options: Unpack[AnswerOptions],
    ) -> Stream:
        """Continue token ids; the options are those of `stream`. `on_end` is told the completion, however it ends."""
        check_options(options)
        if self._stream:
            self._stream.close()
        request = Request(
            prompt_ids=prompt.ids,
            policy=SamplingPolicy.from_generation(self.package.generation, **policy_of(options)),
            stop_ids=self.stop_ids,
            n_tokens=self.tokenizer.n_tokens if self.package.tokenizer else self.engine.model.vocab_size,
            max_tokens=options.get("max_tokens"),
            thinking_budget=options.get("thinking_budget"),
            on_prefill=options.get("on_prefill"),
            # Keys and values can be cut back anywhere, recurrences only to where that was foreseen: by the next prompt,
            # and by this one again, whose last token is always computed.
            checkpoint=min(prompt.lasting(), len(prompt.ids) - 1)
            if prompt.lasting and self.engine.cache.has_recurrences
            else 0,
        )
        answer = None
        if self.package.tokenizer:
            chats = prompt.text is not None
            markers = self._prompts.markers if chats else None
            opened = markers is not None and markers.opened_by(prompt.text or "")
            stops = stops_of(options)
            answer = AnswerStream(self.tokenizer, stops=stops, markers=markers, opened=opened, continues=not chats)
        load_s = 0.0 if self._stream else self.load_s
        generation = Generation(self._sequence, request, answer, load_s=load_s, on_end=on_end)
        self._scheduler.add(generation)
        self._stream = Stream(self._scheduler, generation)
        return self._stream
