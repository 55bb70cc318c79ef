"""The "blog" convention: the arithmetic of the post this project grew from, kept exactly, so that its tables reproduce.

It needs only sizes that a config names, and simplifies what the default ("physical") counts op by op; docs/limits.md
sets the two side by side. In short: giga and tera are binary; a weight takes its nominal bits; the embedding and the
norms count nothing; keys and values have hidden_size / groups numbers each; a prompt's keys and values are written and
read once, and cost four operations a number, linearly in the prompt; the head works on the last row; everything is
computed at the fp32 peak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nearlight.errors import RequestError
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import inflection

CONVENTIONS = ("physical", "blog")

WEIGHT_BITS = {"w16": 16, "w8": 8, "w6": 6, "w4": 4}
KV_BITS = {"16": 16, "8": 8}


@dataclass(frozen=True)
class BlogShape:
    """The numbers that the convention works from.

    Units: `layers` and `head` count parameters (the layers' matrices with their biases, without norms); `groups` is how
    many query heads share a key head.
    """

    layers: int
    head: int
    n_layers: int
    hidden_size: int
    groups: int

    @property
    def kv(self) -> float:
        """Numbers kept per token: a key and a value of hidden_size / groups in every layer."""
        return 2 * self.n_layers * self.hidden_size / self.groups


@dataclass(frozen=True)
class BlogCost:
    """A step's cost in closed form."""

    bytes_read: float
    bytes_written: float
    n_operations: float

    @property
    def operations(self) -> Mapping[str, float]:
        return {"fp32": self.n_operations}


@dataclass(frozen=True)
class BlogCosts:
    """A model under the convention; satisfies `limits.costs.Costs`. Chunks are not part of it."""

    shape: BlogShape
    weight_bits: int = 16
    kv_bits: int = 16

    @property
    def weight_bytes(self) -> float:
        return (self.shape.layers + self.shape.head) * self.weight_bits / 8

    @property
    def kv_token_bytes(self) -> float:
        return self.shape.kv * self.kv_bits / 8

    def kv_bytes(self, n_tokens: int) -> float:
        return n_tokens * self.kv_token_bytes

    def prompt(self, n_prompt: float, head_rows: float = 1) -> BlogCost:
        """Return the cost of a whole prompt."""
        kv_bytes = n_prompt * self.kv_token_bytes
        operations = 2 * n_prompt * self.shape.layers + 2 * head_rows * self.shape.head + 4 * n_prompt * self.shape.kv
        return BlogCost(self.weight_bytes + kv_bytes, kv_bytes, operations)

    def prefill(self, n_prompt: int, chunk: int | None = None, start: int = 0) -> list[BlogCost]:
        return [self.prompt(n_prompt)]

    def decode(self, context: int, batch: int = 1) -> BlogCost:
        operations = batch * (2 * (self.shape.layers + self.shape.head) + 4 * context * self.shape.kv)
        return BlogCost(self.weight_bytes + batch * context * self.kv_token_bytes, 0, operations)

    def verify(self, context: int, n_rows: int) -> BlogCost:
        operations = n_rows * (2 * (self.shape.layers + self.shape.head) + 4 * context * self.shape.kv)
        return BlogCost(self.weight_bytes + context * self.kv_token_bytes, 0, operations)

    def inflection(self, hardware: Hardware) -> float | None:
        """Return the prompt length from which computing bounds, the head working on the last row only ("exact")."""
        return inflection(self.prompt, hardware)

    def rough_inflection(self, hardware: Hardware) -> float | None:
        """Return it as if the head worked on every row, which makes it nearly the same for all models ("rough")."""
        return inflection(lambda rows: self.prompt(rows, head_rows=rows), hardware)


def bits_of(what: str, name: str, table: Mapping[str, int]) -> int:
    """Return the bits that a name like "w8" stands for. Raises: RequestError naming the choices."""
    if name not in table:
        expected = "one of " + ", ".join(table)
        raise RequestError(what, where="--convention blog", expected=expected, found=repr(name))
    return table[name]
