"""Builds any model on the counting kernels: from a package's header, or from a config alone.

No tensor is read and nothing is allocated, so a model that fits no machine can be counted too. What comes out is what
`limits` asks of a model: bytes kept, and the cost of any step.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearlight.dtypes import F32, Format
from nearlight.errors import RequestError
from nearlight.kernels.count import ACCELERATOR, CountOps, StepCost, Target
from nearlight.kernels.ops import Rows
from nearlight.layers.parameters import Parameter
from nearlight.models import build_model
from nearlight.models.config import Bounds
from nearlight.models.of_package import bounds_of, config_of, formats_of
from nearlight.models.weight_formats import FormatOf, requantization
from nearlight.package.package import Package
from nearlight.package.tensors import StoredTensor
from nearlight.state.cache import Cache, KVState
from nearlight.state.kv_format import usual_kv_format


@dataclass(frozen=True)
class Span:
    """New rows of one sequence, of which `start` tokens are cached already."""

    start: int
    n_rows: int


@dataclass(frozen=True)
class ParameterCounts:
    """How many numbers a model has, and where.

    `lm_head` is 0 where the head is the embedding again (tied), `total` counts every parameter once. `active` are those
    a token may meet: all but the experts that are not chosen for it, and but the rows of tables that are not its own.
    `experts` are those of all experts.
    """

    embedding: int
    layers: int
    lm_head: int
    total: int
    active: int
    experts: int = 0


class CountedModel:
    """A model whose parameters are only shapes and formats. `kv_format` None follows them, as in the engine.

    Units: bytes, tokens. What is kept follows the target: this engine's CPU kernels pad, accelerators keep as stored.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        format_of: FormatOf,
        *,
        kv_format: Format | None = None,
        target: Target = ACCELERATOR,
        bounds: Bounds | None = None,
    ) -> None:
        self.config = config
        self.ops = CountOps(target)
        self.model = build_model(self.ops, config, bounds)
        self._parameters = list(self.model.parameters())
        for parameter in self._parameters:
            parameter.bind_shape(self.ops, shape_tensor(parameter, format_of(parameter)))
        matrices = (parameter.format for parameter in self._parameters if parameter.is_matrix)
        self.kv_format = kv_format or usual_kv_format(matrices)

    @classmethod
    def of_package(cls, package: Package, weights: str | None = None, **options: Any) -> CountedModel:
        """Count a package in its stored bits, or as if re-quantized to `weights` ("bf16", "w8", "w6", "w4").

        Raises: PackageError when a tensor is missing; RequestError for unknown weights.
        """
        return cls(
            config_of(package), formats_of(package, requantization(weights)), bounds=bounds_of(package), **options
        )

    @classmethod
    def of_config(cls, config: Mapping[str, Any], weights: str = "bf16", **options: Any) -> CountedModel:
        """Count a config as if its weights were stored as `weights`."""
        formats = requantization(weights)
        assert formats is not None
        return cls(config, formats.format_of, **options)

    # -- what is kept ----------------------------------------------------------------------------------------------

    @property
    def max_positions(self) -> int:
        return self.model.max_positions

    @property
    def parameters(self) -> ParameterCounts:
        embedding, head = (sum(p.size for p in self._parameters if p.role == role) for role in ("embedding", "head"))
        total = sum(p.size for p in self._parameters)
        active = sum(int(p.size * p.active) for p in self._parameters)
        experts = sum(p.size for p in self._parameters if p.role == "expert")
        return ParameterCounts(embedding, total - embedding - head, head, total, active, experts)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all parameters, as they are kept."""
        return sum(value.n_bytes for parameter in self._parameters for value in parameter.values)

    @cached_property
    def file_bytes(self) -> int:
        """Bytes of the tables that stay in their file, of which a token's step reads a row."""
        return sum(p.format.row_bytes(p.shape[1]) * p.shape[0] for p in self._parameters if p.is_table and p.format)

    @property
    def kv_bytes_per_token(self) -> int:
        return sum(
            self.ops.target.kv_token_bytes(state.n_kv_heads, state.head_dim, self.kv_format)
            for state in self.model.declared(KVState)
        )

    def kv_bytes(self, n_tokens: int) -> int:
        """Return the bytes of the cache of one sequence of n_tokens, as it is allocated.

        The tokens come in several steps, after each of which recurrences are copied: as many are kept as ever are.
        """
        cache = self._cache()
        sequence = cache.open()
        for n_rows in (n_tokens - 8, 2, 2, 2, 2) if n_tokens > 8 else (n_tokens,):
            cache.extend(sequence, n_rows)
            cache.commit(sequence)
        return cache.n_bytes

    def activation_bytes(self, n_rows: int) -> int:
        """Return the most room that the activations of a step of n_rows take."""
        self.step([Span(0, n_rows)])
        return self.ops.room.peak

    # -- what steps cost -------------------------------------------------------------------------------------------

    def step(self, spans: Ordered[Span], *, all_logits: bool = False) -> StepCost:
        """Count one step with these new rows, each span of a sequence of its own; the head works on last rows only.

        Raises: RequestError for a step without rows.
        """
        if not spans or min(span.n_rows for span in spans) < 1:
            raise RequestError("rows of a step", expected="at least 1 of every sequence", found=len(spans))
        cache = self._cache()
        return self.ops.count(lambda rows: self.model(rows, cache), _rows(spans, all_logits))

    def prefill(self, n_prompt: int, chunk: int | None = None, start: int = 0) -> list[StepCost]:
        """Count the steps that compute a prompt in chunks (None: at once); only the last gives logits."""
        chunk = chunk or n_prompt
        starts = range(start, start + n_prompt, chunk)
        return [self._prompt_step(Span(at, min(chunk, start + n_prompt - at)), at == starts[-1]) for at in starts]

    def decode(self, context: int, batch: int = 1) -> StepCost:
        """Count a step of one new token for each of `batch` sequences that have `context` tokens cached."""
        return self.step([Span(context, 1)] * batch)

    def verify(self, context: int, n_rows: int) -> StepCost:
        """Count a check of drafted tokens: n_rows of one sequence, all of whose logits are asked for."""
        return self.step([Span(context, n_rows)], all_logits=True)

    def _prompt_step(self, span: Span, last: bool) -> StepCost:
        cache = self._cache()
        rows = _rows([span], all_logits=False)
        if not last:
            rows = Rows(rows.tokens, rows.positions, rows.sequences, rows.logit_rows[:0])
        return self.ops.count(lambda symbolic: self.model(symbolic, cache), rows)

    def _cache(self) -> Cache:
        return Cache(self.ops, self.model.states(), self.kv_format)


def shape_tensor(parameter: Parameter, format: Format) -> StoredTensor:
    """Describe a parameter's tensor without bytes; vectors are stored as float32."""

    def read() -> NDArray[np.uint8]:
        raise RequestError(f"tensor {parameter.name} is only a shape and cannot be read")

    return StoredTensor(
        parameter.name, format if parameter.is_matrix or parameter.is_table else F32, parameter.stored_shape, read
    )


def _rows(spans: Ordered[Span], all_logits: bool) -> Rows:
    sizes = np.array([span.n_rows for span in spans])
    ends = sizes.cumsum()
    positions = np.concatenate([np.arange(span.start, span.start + span.n_rows, dtype=np.int32) for span in spans])
    return Rows(
        tokens=np.zeros(len(positions), np.int32),
        positions=positions,
        sequences=np.repeat(np.arange(len(spans), dtype=np.int32), sizes),
        logit_rows=np.arange(len(positions), dtype=np.int32) if all_logits else (ends - 1).astype(np.int32),
    )
