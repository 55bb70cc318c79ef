"""Rows of logits that go on alone: what they attend over was appended by all rows of the step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nearlight.dtypes import F16
from nearlight.errors import RequestError
from nearlight.kernels.cpu import CpuOps
from nearlight.kernels.ops import Array, Rows
from tests.kernels.cpu_steps import Floats, joined, random, rows_of, stored

HEADS, KV_HEADS, DIM = 4, 2, 10
QUERIES, KEYS = random(20, HEADS * DIM), random(20, KV_HEADS * DIM, seed=1)


def attended(ops: CpuOps, logit_rows: Sequence[int], window: int | None, *, alone: bool) -> Floats:
    """Attend with the logit rows of two sequences of 9 and 5 rows: of all rows, or after having picked them."""
    queries, keys = ops.matrix(stored(QUERIES)), ops.matrix(stored(KEYS))
    store = ops.kv_store(KV_HEADS, DIM, F16)
    for sequence in (0, 1):
        store.reserve(sequence, 12)

    def forward(rows: Rows) -> Array:
        h, k = ops.embed(queries, rows.tokens), ops.embed(keys, rows.tokens)
        ops.append(k, k, store, rows)
        if alone:
            h = ops.take(h, rows.logit_rows)
            return ops.attend(h, store, ops.rows_of_logits(rows), scale=0.3, window=window)
        return ops.take(ops.attend(h, store, rows, scale=0.3, window=window), rows.logit_rows)

    step = joined(rows_of(9), rows_of(5, sequence=1, tokens=[11, 12, 3, 5, 19]))
    return ops.program(forward)(Rows(step.tokens, step.positions, step.sequences, np.array(logit_rows, np.int32)))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("logit_rows", [(8, 13), (0,), (2, 3, 8, 9, 12), (), range(14)], ids=str)
def test_attention_of_logit_rows_is_that_of_all(logit_rows: Sequence[int], window: int | None, threads: int) -> None:
    ops = CpuOps(threads)
    found = attended(ops, logit_rows, window, alone=True)
    np.testing.assert_array_equal(found, attended(ops, logit_rows, window, alone=False))


def test_logit_rows_must_be_in_order() -> None:
    ops = CpuOps(1)
    with pytest.raises(RequestError, match="row 1: position 2 does not follow 3"):
        attended(ops, (3, 2), None, alone=True)
    with pytest.raises(RequestError, match="logit rows: expected 0 … 13, found 14"):
        attended(ops, (14,), None, alone=True)
