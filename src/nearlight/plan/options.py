"""What can be asked of a plan, by name; both conventions' names for a precision are understood."""

from __future__ import annotations

from dataclasses import dataclass

from nearlight.dtypes import Format
from nearlight.errors import RequestError
from nearlight.limits.convention import CONVENTIONS
from nearlight.models.weight_formats import REQUANTIZATIONS, requantization
from nearlight.state.kv_format import kv_format_named

WEIGHTS = tuple(REQUANTIZATIONS)

_WEIGHT_NAMES = {"w16": "bf16"}
_KV_NAMES = {"16": "f16", "8": "q8"}
_BLOG_WEIGHTS = {"bf16": "w16"}
_BLOG_KV = {"f16": "16", "q8": "8"}

DEFAULT_PROMPT = 1000
DEFAULT_CONTEXT = 4096


@dataclass(frozen=True)
class Options:
    """A plan's choices, under their usual names.

    Units: tokens; `n_after` follow the prompt. `kv` None follows the weights; `context` None is the usual one,
    or a longer one where prompt and what follows need it; `n_prompt` None is 1000, or what the context leaves for it.
    """

    weights: str | None = None
    kv: str | None = None
    n_prompt: int | None = None
    n_after: int = 0
    context: int | None = None
    convention: str = "physical"

    def __post_init__(self) -> None:
        requantization(self.weights)
        kv_format_named(self.kv)
        if self.convention not in CONVENTIONS:
            raise RequestError("convention", expected="one of " + ", ".join(CONVENTIONS), found=repr(self.convention))
        for what, count in (("prompt", self.n_prompt), ("context", self.context)):
            if count is not None and count < 1:
                raise RequestError(what, expected="at least 1 token", found=count)
        if self.context:
            self.prompt_for(self.context)

    @staticmethod
    def of(weights: str | None, kv: str | None, **rest: int | str | None) -> Options:
        """Read choices in either convention's names ("w16" is "bf16", "8" is "q8")."""
        weights = None if weights is None else _WEIGHT_NAMES.get(weights, weights)
        kv = None if kv is None else _KV_NAMES.get(kv, kv)
        return Options(weights, kv, **rest)  # type: ignore[arg-type]

    @property
    def kv_format(self) -> Format | None:
        return kv_format_named(self.kv)

    @property
    def blog_weights(self) -> str:
        weights = self.weights or "bf16"
        return _BLOG_WEIGHTS.get(weights, weights)

    @property
    def blog_kv(self) -> str:
        kv = self.kv or "f16"
        return _BLOG_KV.get(kv, kv)

    def context_for(self, max_positions: int) -> int:
        """Return the context to plan for: the one asked for, or a usual one that holds prompt and what follows it.

        Raises: RequestError when the model has fewer positions.
        """
        needed = (self.n_prompt or DEFAULT_PROMPT) + self.n_after
        context = self.context or min(max_positions, max(DEFAULT_CONTEXT, needed))
        if context > max_positions:
            raise RequestError("context", expected=f"at most {max_positions}, the model's own", found=context)
        return context

    def prompt_for(self, context: int) -> int:
        """Return the prompt's length. Raises: RequestError when it and what follows are longer than the context."""
        n_prompt = self.n_prompt or max(min(DEFAULT_PROMPT, context - self.n_after), 1)
        if n_prompt + self.n_after > context:
            what = "prompt and what follows it" if self.n_after else "prompt longer than the context"
            expected = f"at most {context} tokens of context"
            raise RequestError(what, expected=expected, found=n_prompt + self.n_after)
        return n_prompt
