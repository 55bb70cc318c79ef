"""What a model is to everything above models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar, Protocol

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.parameters import Layer
from nearlight.layers.rope import Rope
from nearlight.models.config import ConfigReader
from nearlight.state.cache import KVState, LayerCache, RecurrentState


class Family(Protocol):
    """A class of models as the registry has it."""

    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def leaves_out(self) -> str: ...
    def __call__(self, ops: Any, config: ConfigReader) -> Model: ...


class Model(Layer, ABC):
    """Rows in, hidden rows and logits out; parameters with their roles; what its layers keep; its limits.

    A family is a subclass that declares its layers in `__init__(ops, config)` and computes with them. Nothing above
    asks a model for more than this: not for its blocks, nor for what they are called.

    Units: `vocab_size` counts logits of a row, `max_positions` tokens of a sequence.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    """Ops beyond those of `Ops` that the forward calls; a kernel set without one of them cannot compute it."""
    leaves_out: ClassVar[str] = ""
    """What the forward lacks of the published one, and no count notices; such a model is only planned."""

    def __init__(self, ops: Ops, vocab_size: int, max_positions: int) -> None:
        self.ops = ops
        self.vocab_size, self.max_positions = vocab_size, max_positions

    @abstractmethod
    def hidden(self, rows: Rows, cache: LayerCache) -> Array:
        """Compute the logit rows' last hidden states, after the last norm. Shapes: rows of R -> [W, M]."""

    @abstractmethod
    def logits(self, hidden: Array) -> Array:
        """Compute the logits of hidden states. Shapes: [W, M] -> [W, V]."""

    def __call__(self, rows: Rows, cache: LayerCache) -> Array:
        """Compute the logit rows' logits. Shapes: rows of R -> [W, V]."""
        return self.logits(self.hidden(rows, cache))

    @cached_property
    def rewrites_keys(self) -> bool:
        """Whether keys must be computed again when their sequence's length gives it another rotation."""
        return any(rope.scaling.rewrites for rope in self.declared(Rope))

    def rotates_alike(self, length: int, other: int) -> bool:
        """Say whether tokens are rotated the same in sequences of so many tokens, and of so many."""
        return all(rope.scaling.alike(length, other) for rope in self.declared(Rope))

    def states(self) -> Iterator[KVState | RecurrentState]:
        """Yield what the layers keep between steps, each once, in order of declaration."""
        return self.declared((KVState, RecurrentState))
