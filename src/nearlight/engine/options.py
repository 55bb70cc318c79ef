"""What may be asked of an answer: one list of options for everything that makes one, checked before any work is done.

A method takes them as `**options: Unpack[AnswerOptions]`, which type checkers and editors know by name and type; and
`spelled_out` shows the same to help() and to whatever else reads signatures.

Source: PEP 692 (TypedDict for keyword arguments), PEP 362 (`__signature__`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter
from numbers import Integral
from typing import Any, ForwardRef, TypedDict, TypeVar

from nearlight.decode.policy import SamplingPolicy
from nearlight.errors import RequestError
from nearlight.text.switches import LEVELS

_Function = TypeVar("_Function", bound=Callable[..., Any])


class AnswerOptions(TypedDict, total=False):
    """How an answer is made. What is left out, or None, is as the model's package says.

    `stop` are texts before which the answer ends; `on_prefill` is told the prompt tokens computed so far, and in all.
    The others are fields of `SamplingPolicy`: `temperature` 0 is greedy; the same `seed` draws the same tokens;
    `logit_bias` maps token ids to what is added to their logits; `logprobs` n asks for log-probabilities.
    Units: `max_tokens` and `thinking_budget` count tokens; None is no limit but the context.
    """

    max_tokens: int | None
    stop: str | Sequence[str] | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[int, float] | None
    seed: int | None
    logprobs: int | None
    thinking_budget: int | None
    on_prefill: Callable[[int, int], None] | None


def policy_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are fields of `SamplingPolicy`."""
    others = ("max_tokens", "stop", "thinking_budget", "on_prefill")
    return {name: value for name, value in options.items() if name not in others and value is not None}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options of an answer that make no sense. Raises: RequestError naming the option, and what it takes."""
    for name in options:
        if name not in AnswerOptions.__annotations__:
            near = get_close_matches(name, AnswerOptions.__annotations__, n=1)
            advice = f"did you mean {near[0]}?" if near else "help(nearlight) lists them"
            raise RequestError(f"no option is called {name[:40]!r}", advice=advice)
    for name in ("max_tokens", "thinking_budget"):
        check_whole(name, options.get(name), at_least=0)
    stops_of(options)
    SamplingPolicy.from_generation({}, **policy_of(options))


def stops_of(options: Mapping[str, Any]) -> list[str]:
    """Return the texts to stop at. Raises: RequestError for one that is empty, or no text."""
    stop = options.get("stop")
    stops = [stop] if isinstance(stop, str) else () if stop is None else stop
    if not isinstance(stops, Sequence) or not all(isinstance(text, str) and text for text in stops):
        raise RequestError("stop", expected="a text to stop at, or a list of such", found=repr(stop)[:80])
    return list(stops)


def check_whole(name: str, value: object, *, at_least: int) -> None:
    """Refuse what is no whole number, or too small; None is one that was not given. Raises: RequestError."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if value is not None and (not whole or value < at_least):  # type: ignore[operator]
        raise RequestError(name, expected=f"a whole number of at least {at_least}", found=repr(value)[:80])


def check_think(think: object) -> None:
    """Refuse what says nothing about thinking. Raises: RequestError naming what does."""
    if not (think is None or isinstance(think, bool) or think in LEVELS):
        expected = ", ".join(("True", "False", *LEVELS[:-1])) + " or " + LEVELS[-1]
        raise RequestError("think", expected=expected, found=repr(think)[:80])


def check_switch(name: str, value: object) -> None:
    """Refuse what is neither True nor False; None is one that was not given. Raises: RequestError."""
    if value is not None and not isinstance(value, bool):
        raise RequestError(name, expected="True or False", found=repr(value)[:80])


def spelled_out(options: type) -> Callable[[_Function], _Function]:
    """Show the keys of a TypedDict in a function's signature, in place of the `**options` they are unpacked from."""

    def spell(function: _Function) -> _Function:
        signature = inspect.signature(function)
        named = [each for each in signature.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        keywords = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=_text(annotation))
            for name, annotation in options.__annotations__.items()
        ]
        function.__signature__ = signature.replace(parameters=[*named, *keywords])  # type: ignore[attr-defined]
        return function

    return spell


def _text(annotation: object) -> object:
    return annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation
