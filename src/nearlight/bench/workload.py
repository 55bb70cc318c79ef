"""What is measured, in llama-bench's terms and names.

    pp512           compute a prompt of 512 tokens
    tg64            generate 64 tokens, one step each, from an empty context
    tg64 @ d4096    the same with 4096 tokens already in the context

Source: llama.cpp, tools/llama-bench/README.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nearlight.errors import RequestError


@dataclass(frozen=True)
class Workload:
    """A prompt of `n_prompt` tokens or `n_gen` single-token steps, after `n_depth` tokens of context."""

    n_prompt: int = 0
    n_gen: int = 0
    n_depth: int = 0

    def __post_init__(self) -> None:
        if min(self.n_prompt, self.n_gen, self.n_depth) < 0 or (self.n_prompt > 0) == (self.n_gen > 0):
            raise RequestError("a test", expected="a number of prompt tokens, or of tokens to generate", found=self)

    @property
    def name(self) -> str:
        work = f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"
        return f"{work} @ d{self.n_depth}" if self.n_depth else work

    @property
    def n_tokens(self) -> int:
        """Tokens that the speed is told in."""
        return self.n_prompt + self.n_gen

    @property
    def context(self) -> int:
        """Tokens that the context must hold at the end."""
        return self.n_depth + self.n_tokens


def sweep(prompts: Iterable[int], gens: Iterable[int], depths: Iterable[int]) -> list[Workload]:
    """Combine llama-bench's lists: at every depth each prompt, then each generation; 0 leaves a test out."""
    workloads = []
    prompts, gens = list(prompts), list(gens)
    for depth in depths:
        workloads += [Workload(n_prompt=n, n_depth=depth) for n in prompts if n]
        workloads += [Workload(n_gen=n, n_depth=depth) for n in gens if n]
    if not workloads:
        raise RequestError("nothing to measure", advice="give -p (prompt tokens) or -n (tokens to generate) above 0")
    return workloads
