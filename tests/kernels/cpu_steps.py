"""Runs single ops of the CPU kernels on given numbers: inputs are looked up in float32 tables, which is exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nearlight.dtypes import F32
from nearlight.kernels.cpu import CpuOps
from nearlight.kernels.ops import Rows
from nearlight.package.tensors import StoredTensor

Floats = NDArray[np.float32]


def stored(values: Floats, name: str = "w") -> StoredTensor:
    """Wrap numbers as a float32 tensor of a package."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    rows = values.reshape(-1, values.shape[-1]) if values.size else values
    return StoredTensor.from_bytes(name, F32, values.shape, rows.view(np.uint8))


def rows_of(
    n_rows: int,
    *,
    start: int = 0,
    sequence: int = 0,
    logit_rows: Sequence[int] | None = None,
    tokens: Sequence[int] | None = None,
    embeddings: Floats | None = None,
) -> Rows:
    """Make the rows of one sequence from position `start`; token i is i, and all rows are logit_rows, unless given."""
    return Rows(
        np.arange(n_rows, dtype=np.int32) if tokens is None else np.asarray(tokens, dtype=np.int32),
        np.arange(start, start + n_rows, dtype=np.int32),
        np.full(n_rows, sequence, dtype=np.int32),
        np.asarray(range(n_rows) if logit_rows is None else logit_rows, dtype=np.int32),
        embeddings,
    )


def joined(*parts: Rows) -> Rows:
    """Put the rows of several sequences into one step, all of them logit_rows."""
    n_rows = sum(len(part.tokens) for part in parts)
    fields = (np.concatenate([getattr(part, f) for part in parts]) for f in ("tokens", "positions", "sequences"))
    return Rows(*fields, np.arange(n_rows, dtype=np.int32))


def as_tensors(rows: Rows) -> Rows:
    """Make rows what a forward on the reference is given."""
    return Rows(*(None if field is None else torch.from_numpy(field) for field in vars(rows).values()))


def compute(ops: CpuOps, op: Callable[..., Any], *inputs: Floats, rows: Rows | None = None) -> Floats:
    """Run `op(*activations, rows)` on inputs [R, width]; row r is the one that token r names."""
    tables = [ops.matrix(stored(values)) for values in inputs]

    def forward(symbolic: Rows) -> Any:
        return op(*(ops.embed(table, symbolic.tokens) for table in tables), symbolic)

    return ops.program(forward)(rows or rows_of(len(inputs[0])))


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Floats:
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)
