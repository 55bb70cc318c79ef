"""What a generation gives back: the answer, why it ended, and how long it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from nearlight.decode.sampler import Choice
from nearlight.limits.run import LEAST_TOKENS

Limit: TypeAlias = Literal["max_tokens", "context"]


@dataclass
class Timing:
    """Measured from the moment the prompt was handed over.

    Units: seconds and tokens. Prefill covers the prompt tokens that were not cached already; decoding is counted
    from the first token to the last, so that it needs at least two tokens. `load_s` is what loading took before a
    model's first answer; 0 for later ones.
    """

    load_s: float = 0.0
    ttft_s: float | None = None
    prefill_s: float = 0.0
    prefill_tokens: int = 0
    decode_s: float = 0.0
    decode_steps: int = 0

    @property
    def prefill_tok_s(self) -> float | None:
        return self.prefill_tokens / self.prefill_s if self.prefill_s else None

    @property
    def decode_tok_s(self) -> float | None:
        return self.decode_steps / self.decode_s if self.decode_s else None


@dataclass
class Completion:
    """A finished (or stopped) answer.

    `text` is the answer without its thinking, `thinking` that part alone, `token_ids` all generated tokens.
    `finish_reason` is "stop" (a stop token or string), "length" (a limit, which `limit_reached` names) or "cancelled".
    `choices` are the tokens with their log-probabilities, when those were asked for.
    """

    text: str = ""
    thinking: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: str = "cancelled"
    limit_reached: Limit | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    choices: list[Choice] = field(default_factory=list)
    timing: Timing = field(default_factory=Timing)

    @property
    def mean_context(self) -> float:
        """The number of tokens a decode step attended over, averaged over the steps."""
        return self.prompt_tokens + (self.timing.decode_steps + 1) / 2

    @property
    def has_share(self) -> bool:
        """Whether there are enough tokens for the speed to be held against a limit."""
        return len(self.token_ids) >= LEAST_TOKENS and self.timing.decode_tok_s is not None

    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": len(self.token_ids),
            "cached_tokens": self.cached_tokens,
        }
