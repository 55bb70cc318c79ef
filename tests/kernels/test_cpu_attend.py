"""Attention and the KV store of the CPU kernels against the formula in float64."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearlight.dtypes import F16, F32, Q4_0, Q8_0, Format
from nearlight.errors import RequestError, ShapeError
from nearlight.kernels.cpu import CpuKVStore, CpuOps
from nearlight.kernels.ops import Rows
from tests.kernels.cpu_steps import Floats, compute, joined, random, rows_of

SHAPES = [(1, 1, 1), (3, 1, 5), (6, 2, 7), (4, 4, 16), (8, 2, 64), (71, 1, 20), (2, 1, 150)]  # H, K, D


def expected(q: Floats, k: Floats, v: Floats, head_dim: int, scale: float) -> np.ndarray:
    """Attend over one whole sequence. Shapes: q [T, H * D], k and v [T, K * D]."""
    q, k, v = (x.astype(np.float64).reshape(len(x), -1, head_dim) for x in (q, k, v))
    group = q.shape[1] // k.shape[1]
    k, v = (x.repeat(group, axis=1) for x in (k, v))
    scores = np.einsum("thd,shd->hts", q, k) * scale
    scores[:, ~np.tri(len(q), dtype=bool)] = -np.inf
    p = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("hts,shd->thd", p / p.sum(-1, keepdims=True), v).reshape(len(q), -1)


def attend(
    ops: CpuOps, store: CpuKVStore, q: Floats, k: Floats, v: Floats, dim: int, rows: Rows | None = None
) -> Floats:
    rows = rows or rows_of(len(q))
    for sequence in np.unique(rows.sequences).tolist():
        store.reserve(sequence, int(rows.positions[rows.sequences == sequence].max()) + 1)
    return compute(ops, appended_and_attended(ops, store, dim**-0.5), q, k, v, rows=rows)


def appended_and_attended(ops: CpuOps, store: CpuKVStore, scale: float) -> Any:
    def op(q: Any, k: Any, v: Any, rows: Rows) -> Any:
        ops.append(k, v, store, rows)
        return ops.attend(q, store, rows, scale=scale)

    return op


def qkv(n_tokens: int, h: int, k: int, d: int, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    return (
        random(n_tokens, h * d, seed=seed),
        random(n_tokens, k * d, seed=seed + 1),
        random(n_tokens, k * d, seed=seed + 2),
    )


@pytest.mark.parametrize(("h", "k", "d"), SHAPES)
def test_one_sequence(h: int, k: int, d: int) -> None:
    ops = CpuOps(2)
    inputs = qkv(37, h, k, d)
    found = attend(ops, ops.kv_store(k, d, F32), *inputs, d)
    np.testing.assert_allclose(found, expected(*inputs, d, d**-0.5), rtol=0, atol=6e-6)


def test_a_long_sequence_over_several_segments() -> None:
    ops = CpuOps(3)
    h, k, d = 6, 2, 24
    inputs = qkv(700, h, k, d)
    found = attend(ops, ops.kv_store(k, d, F32), *inputs, d)
    np.testing.assert_allclose(found, expected(*inputs, d, d**-0.5), rtol=0, atol=3e-6)


def test_scores_far_apart_do_not_overflow() -> None:
    ops = CpuOps(1)
    q, k, v = qkv(150, 1, 1, 8)
    inputs = q * 200, k * 200, v
    found = attend(ops, ops.kv_store(1, 8, F32), *inputs, 8)
    np.testing.assert_allclose(found, expected(*inputs, 8, 8**-0.5), rtol=0, atol=2e-3)


def test_what_another_sequence_left_in_memory_is_gone() -> None:
    """Memory of closed sequences is used again; keys of 5 dimensions have a sixth, which has to be zero."""
    ops = CpuOps(1)
    store, other = ops.kv_store(1, 5, F32), ops.kv_store(1, 6, F32)
    q, k, v = qkv(300, 1, 1, 6)
    k[:, 5] = np.inf
    attend(ops, other, q, k, v, 6)
    other.free(0)
    inputs = qkv(3, 1, 1, 5)
    found = attend(ops, store, *inputs, 5)
    np.testing.assert_allclose(found, expected(*inputs, 5, 5**-0.5), rtol=0, atol=3e-6)
    assert other.n_bytes == 0


def test_sequences_in_one_step_do_not_see_each_other() -> None:
    ops = CpuOps(2)
    h, k, d = 4, 2, 6
    store = ops.kv_store(k, d, F32)
    lengths = {7: 40, 2: 1, 9: 19}
    inputs = {sequence: qkv(length, h, k, d, seed=sequence) for sequence, length in lengths.items()}
    rows = joined(*(rows_of(length, sequence=sequence) for sequence, length in lengths.items()))
    together = [np.concatenate(parts) for parts in zip(*inputs.values(), strict=True)]
    rows = Rows(np.arange(60, dtype=np.int32), rows.positions, rows.sequences, rows.logit_rows)
    found = attend(ops, store, *together, d, rows)
    start = 0
    for sequence, length in lengths.items():
        alone = expected(*inputs[sequence], d, d**-0.5)
        np.testing.assert_allclose(found[start : start + length], alone, rtol=0, atol=3e-6)
        start += length


@pytest.mark.parametrize("format", [F32, F16, Q8_0], ids=str)
def test_later_positions_are_not_even_multiplied_with_zero(format: Format) -> None:
    ops = CpuOps(1)
    q, k, v = qkv(20, 4, 1, 8)
    v[13:] = np.inf
    found = attend(ops, ops.kv_store(1, 8, format), q, k, v, 8)
    assert np.isfinite(found[:13]).all()
    assert not (np.abs(found[13:]) < 100).any()  # bf16 units see the largest numbers in place of infinity


def test_forgotten_tokens_are_overwritten() -> None:
    ops = CpuOps(2)
    store = ops.kv_store(2, 6, F32)
    first, second = qkv(30, 4, 2, 6), qkv(30, 4, 2, 6, seed=5)
    attend(ops, store, *first, 6)
    attend(ops, store, *(x[11:] for x in second), 6, rows_of(19, start=11))
    mixed = [np.concatenate([a[:11], b[11:]]) for a, b in zip(first, second, strict=True)]
    last = attend(ops, store, *(x[29:] for x in mixed), 6, rows_of(1, start=29))
    np.testing.assert_allclose(last, expected(*mixed, 6, 6**-0.5)[29:], rtol=0, atol=3e-6)


def test_copies_go_their_own_way() -> None:
    ops = CpuOps(2)
    store = ops.kv_store(1, 5, F32)
    base, one, other = (qkv(300, 2, 1, 5, seed=seed) for seed in (0, 10, 20))
    attend(ops, store, *(x[:290] for x in base), 5)
    store.copy(0, 3, 290)
    for sequence, tail in ((0, one), (3, other)):
        found = attend(ops, store, *(x[290:] for x in tail), 5, rows_of(10, start=290, sequence=sequence))
        mixed = [np.concatenate([a[:290], b[290:]]) for a, b in zip(base, tail, strict=True)]
        np.testing.assert_allclose(found, expected(*mixed, 5, 5**-0.5)[290:], rtol=0, atol=3e-6)


def test_whole_sequences_keep_nothing() -> None:
    ops = CpuOps(2)
    inputs = qkv(3 * 14, 6, 3, 5)
    rows = joined(*(rows_of(14, sequence=s) for s in range(3)))
    rows = Rows(np.arange(42, dtype=np.int32), rows.positions, rows.sequences, rows.logit_rows)

    def whole(length: int) -> Floats:
        op = lambda q, k, v, _: ops.attend_whole(q, k, v, length, head_dim=5, scale=5**-0.5)  # noqa: E731
        return compute(ops, op, *inputs, rows=rows)

    found = whole(14)
    for s in range(3):
        mine = slice(14 * s, 14 * s + 14)
        np.testing.assert_allclose(found[mine], expected(*(x[mine] for x in inputs), 5, 5**-0.5), rtol=0, atol=3e-6)
    with pytest.raises(RequestError, match=r"sequence 0: expected positions 0 … 12, found 14 rows"):
        whole(13)


@pytest.mark.parametrize(
    ("format", "token_bytes"),
    [(F32, 4 * (10 + 16)), (F16, 2 * (10 + 16) + 2 * 2), (Q8_0, 12 + 2 + 16 + 2)],  # codes have scales
    ids=str,
)
def test_bytes_are_those_of_whole_segments(format: Format, token_bytes: int) -> None:
    store = CpuOps(1).kv_store(3, 9 if format is F32 else 10, format)  # nine are kept as five pairs
    assert store.n_bytes == 0
    assert store.token_bytes == 3 * token_bytes
    store.reserve(4, 1)
    segment = 3 * 256 * token_bytes
    assert store.n_bytes == segment
    store.reserve(4, 256)
    assert store.n_bytes == segment
    store.reserve(4, 257)
    store.copy(4, 5, 300)
    assert store.n_bytes == 4 * segment
    store.copy(4, 5, 200)
    assert store.n_bytes == 3 * segment
    store.free(4)
    store.free(77)
    assert store.n_bytes == segment


def test_rows_beyond_the_room_are_refused() -> None:
    ops = CpuOps(2)
    store = ops.kv_store(1, 4, F16)
    store.reserve(0, 10)
    inputs = qkv(3, 1, 1, 4)

    def step(rows: Rows) -> Floats:
        return compute(ops, appended_and_attended(ops, store, 1.0), *inputs, rows=rows)

    assert np.isfinite(step(rows_of(3))).all()
    for rows, message in (
        (rows_of(3, start=254), "sequence 0: position 256 is beyond the reserved room of 256"),
        (rows_of(3, start=2**31 - 4), "beyond the reserved room"),
        (rows_of(3, sequence=1), "sequence 1: position 2 is beyond the reserved room of 0"),
        (rows_of(3, sequence=-1), "sequence -1"),
        (rows_of(3, start=-1), "row 0: position -1 is below 0"),
    ):
        with pytest.raises(RequestError, match=message):
            step(rows)
    store.free(0)
    with pytest.raises(RequestError, match="reserved room of 0"):
        step(rows_of(3))


def test_rows_out_of_order_are_refused() -> None:
    ops = CpuOps(1)
    tokens = np.arange(3, dtype=np.int32)
    for positions, sequences, message in (
        ([0, 2, 1], [0, 0, 0], "row 2: position 1 does not follow 2"),
        ([4, 4, 5], [0, 0, 0], "row 1: position 4 does not follow 4"),
        ([0, 0, 1], [0, 1, 0], "row 2: the rows of sequence 0 are not consecutive"),
    ):
        rows = Rows(tokens, np.array(positions, np.int32), np.array(sequences, np.int32), tokens)
        with pytest.raises(RequestError, match=message):
            compute(ops, lambda x, r: x, random(3, 2), rows=rows)


def test_sizes_that_do_not_fit_are_named() -> None:
    ops = CpuOps(1)
    q, k, v = qkv(3, 6, 2, 4)
    store = ops.kv_store(2, 4, F32)
    with pytest.raises(ShapeError, match=r"keys: expected \(up to 4 rows, 8\), found \(up to 4 rows, 7\)"):
        attend(ops, store, q, k[:, :7], v, 4)
    with pytest.raises(ShapeError, match=r"values: expected \(up to 4 rows, 8\), found \(up to 4 rows, 4\)"):
        attend(ops, store, q, k, v[:, :4], 4)
    with pytest.raises(ShapeError, match=r"queries: expected a multiple of 8, found 20"):
        attend(ops, store, q[:, :20], k, v, 4)
    with pytest.raises(ShapeError, match="at least one head"):
        ops.kv_store(0, 4, F16)
    with pytest.raises(RequestError, match="kv cache format: expected F32, F16 or Q8_0, found Q4_0"):
        ops.kv_store(2, 4, Q4_0)
    store.reserve(0, 5)
    with pytest.raises(RequestError, match="sequence 0 has room for 256 tokens, not 257"):
        store.copy(0, 1, 257)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_cleared_cache_is_zeros_in_memory_and_a_reserved_one_takes_none() -> None:
    ops = CpuOps(1)
    store = ops.kv_store(8, 128, F16)
    before = resident_bytes()
    store.reserve(0, 8192)
    assert store.n_bytes == 8192 * 8 * (512 + 4)
    assert resident_bytes() - before < store.n_bytes / 4
    store.clear(0)
    store.clear(1)  # nobody's
    assert resident_bytes() - before > store.n_bytes * 0.9


def test_two_layers_attend_over_what_one_appended() -> None:
    """As layers do that share keys and values: each has its own queries, and the second writes nothing."""
    ops, n, h, k, d = CpuOps(2), 37, 6, 2, 20
    (q, key, value), other = qkv(n, h, k, d), random(n, h * d, seed=9)
    store = ops.kv_store(k, d, F32)
    store.reserve(0, n)

    def op(q: Any, other: Any, key: Any, value: Any, rows: Rows) -> Any:
        ops.append(key, value, store, rows)
        first = ops.attend(q, store, rows, scale=d**-0.5)
        return ops.add(first, ops.attend(other, store, rows, scale=d**-0.5, window=5))

    wanted = expected(q, key, value, d, d**-0.5)
    found = compute(ops, op, q, other, key, value)
    alone = compute(ops, lambda other, rows: ops.attend(other, store, rows, scale=d**-0.5, window=5), other)
    np.testing.assert_allclose(found - alone, wanted, rtol=0, atol=5e-6)
