"""Convolution and scan against the reference kernels, at sizes that no vector and no group divides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from nearlight.errors import RequestError, ShapeError
from nearlight.kernels.cpu import CpuOps
from nearlight.kernels.ops import Rows
from nearlight.kernels.reference import ReferenceOps
from tests.kernels.cpu_steps import Floats, as_tensors, compute, joined, random, rows_of, stored

ROWS = joined(rows_of(7, sequence=2), rows_of(1, sequence=0), rows_of(4, sequence=5))
ROWS = Rows(np.arange(12, dtype=np.int32), ROWS.positions, ROWS.sequences, ROWS.logit_rows)
SCANS = [(5, 1, 3, 1, True), (40, 1, 16, 1, True), (3, 20, 5, 3, False), (6, 4, 7, 2, False), (2, 33, 9, 1, False)]


DELTA_RULES = [
    (6, 2, 10, 22, False),
    (6, 2, 10, 22, True),
    (2, 2, 7, 32, False),
    (3, 1, 16, 70, False),
    (4, 2, 5, 1, True),
]


def on_both(size: int, vectors: dict[str, Floats | None], inputs: list[Floats], op: Callable[..., Any]) -> list[Floats]:
    """Run two steps of the same rows on either kernel set; return what each gave, the cpu's first."""
    found = []
    cpu, reference = CpuOps(2), ReferenceOps()
    named = {name: cpu.vector(stored(v, name)) if v is not None else None for name, v in vectors.items()}
    store = cpu.recurrent_store(size)
    for sequence in (2, 0, 5):
        store.reserve(sequence)
    steps = []
    for place in (1, 0):
        steps.append(compute(cpu, lambda *x: op(cpu, store, named, *x), *inputs, rows=ROWS))
        for sequence in (2, 0, 5):
            store.use(sequence, place)
    found.append(np.concatenate(steps))

    theirs = reference.recurrent_store(size)
    for sequence in (2, 0, 5):
        theirs.reserve(sequence)
    tensors = {name: torch.from_numpy(v) if v is not None else None for name, v in vectors.items()}
    rows = as_tensors(ROWS)
    steps = []
    for place in (1, 0):
        steps.append(op(reference, theirs, tensors, *map(torch.from_numpy, inputs), rows).numpy())
        for sequence in (2, 0, 5):
            theirs.use(sequence, place)
    found.append(np.concatenate(steps))
    return found


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("width", "taps"), [(5, 4), (16, 2), (71, 3)])
def test_convolutions_go_on_from_the_inputs_before(width: int, taps: int, bias: bool, silu: bool) -> None:
    vectors = {"weight": random(width * taps, seed=1), "bias": random(width, seed=2) if bias else None}

    def op(ops: Any, store: Any, vectors: Any, x: Any, rows: Any) -> Any:
        return ops.causal_conv(x, vectors["weight"], vectors["bias"], store, rows, silu=silu)

    ours, theirs = on_both((taps - 1) * width, vectors, [random(12, width)], op)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("n_heads", "head_size", "state", "n_groups", "own_decays"), SCANS)
def test_scans_go_on_from_the_state_before(
    n_heads: int, head_size: int, state: int, n_groups: int, own_decays: bool
) -> None:
    width = n_heads * head_size
    vectors = {
        "a_log": random(n_heads * (state if own_decays else 1), seed=1),
        "d": random(n_heads, seed=2),
        "dt_bias": None if own_decays else random(n_heads, seed=3),
    }
    inputs = [
        random(12, n, seed=i, scale=2.0) for i, n in enumerate((width, n_heads, n_groups * state, n_groups * state))
    ]

    def op(ops: Any, store: Any, v: Any, x: Any, dt: Any, b: Any, c: Any, rows: Any) -> Any:
        return ops.selective_scan(
            x, dt, b, c, v["a_log"], v["d"], v["dt_bias"], store, rows, n_heads=n_heads, n_groups=n_groups
        )

    ours, theirs = on_both(width * state, vectors, inputs, op)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(("n_heads", "n_key_heads", "key_dim", "head_dim", "tiled"), DELTA_RULES)
def test_delta_rules_go_on_from_the_state_before(
    n_heads: int, n_key_heads: int, key_dim: int, head_dim: int, tiled: bool
) -> None:
    vectors = {"a_log": random(n_heads, seed=1), "dt_bias": random(n_heads, seed=2)}
    widths = (n_key_heads * key_dim, n_key_heads * key_dim, n_heads * head_dim, n_heads, n_heads)
    inputs = [random(12, n, seed=i, scale=(0.3, 0.3, 1, 2, 2)[i]) for i, n in enumerate(widths)]

    def op(ops: Any, store: Any, vectors: Any, *x: Any) -> Any:
        *x, rows = x
        gates = vectors["a_log"], vectors["dt_bias"]
        return ops.gated_delta_rule(*x, *gates, store, rows, n_key_heads=n_key_heads, scale=0.7, tiled=tiled)

    ours, theirs = on_both(n_heads * key_dim * head_dim, vectors, inputs, op)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)


def test_a_key_that_was_seen_recalls_its_value() -> None:
    """Keys of length 1, steps of 1 and no decay: what was written for a key is overwritten, and all else stays."""
    ops = CpuOps(1)
    vectors = [ops.vector(stored(np.full(1, value, np.float32))) for value in (-80.0, 0.0)]
    store = ops.recurrent_store(3 * 2)
    store.reserve(0)
    keys = np.eye(3, dtype=np.float32)[[0, 1, 0, 2]]
    queries = np.eye(3, dtype=np.float32)[[0, 0, 0, 1]]
    values = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.float32)
    gates = np.zeros((4, 1), np.float32), np.full((4, 1), 60, np.float32)

    def op(q: Any, k: Any, v: Any, a: Any, b: Any, rows: Any) -> Any:
        return ops.gated_delta_rule(q, k, v, a, b, *vectors, store, rows, n_key_heads=1, scale=2.0)

    np.testing.assert_array_equal(compute(ops, op, queries, keys, values, *gates), 2 * values[[0, 0, 2, 1]])


def test_heads_of_length_one() -> None:
    ops, x = CpuOps(2), random(5, 42)
    for head_dim in (7, 21, 42):
        found = compute(ops, lambda x, _, n=head_dim: ops.l2_norm(x, n, 0.3), x)
        wanted = ReferenceOps().l2_norm(torch.from_numpy(x), head_dim, 0.3)
        np.testing.assert_allclose(found, wanted.numpy(), rtol=2e-5, atol=1e-6)


def test_delta_rules_that_do_not_fit_are_named() -> None:
    ops = CpuOps(1)
    a_log, store = ops.vector(stored(random(6), "a_log")), ops.recurrent_store(10 * 6 * 3)
    store.reserve(0)
    fitting = {"q": 20, "k": 20, "v": 18, "a": 6, "b": 6}

    def wrong(n_key_heads: int = 2, bias: int = 6, **widths: int) -> None:
        dt_bias = ops.vector(stored(random(bias), "dt_bias"))

        def op(*x: Any) -> Any:
            *x, rows = x
            return ops.gated_delta_rule(*x, a_log, dt_bias, store, rows, n_key_heads=n_key_heads, scale=1.0)

        compute(ops, op, *(random(4, width) for width in {**fitting, **widths}.values()))

    wrong()
    with pytest.raises(ShapeError, match=r"queries: expected .*, 20.*, found .*, 10"):
        wrong(q=10)
    with pytest.raises(ShapeError, match="keys of a delta rule: expected a multiple of 3, found 20"):
        wrong(n_key_heads=3)
    with pytest.raises(ShapeError, match="heads of a delta rule: expected a multiple of 4, found 6"):
        wrong(n_key_heads=4)
    with pytest.raises(ShapeError, match="values of a delta rule: expected a multiple of 6, found 17"):
        wrong(v=17)
    with pytest.raises(ShapeError, match=r"steps of a delta rule: expected .*, 6.*, found .*, 5"):
        wrong(b=5)
    with pytest.raises(ShapeError, match="values of dt_bias: expected 6, found 5"):
        wrong(bias=5)
    with pytest.raises(ShapeError, match="values of a state: expected 360, found 180"):
        wrong(v=36)


def test_steps_from_very_small_to_very_large() -> None:
    """softplus and its logarithm: what is far below 0 is nearly nothing, what is far above is itself."""
    dt = np.linspace(-80, 80, 12, dtype=np.float32).reshape(12, 1)
    vectors = {"a_log": np.full(1, -30, np.float32), "d": np.zeros(1, np.float32), "dt_bias": None}
    one = np.ones((12, 1), np.float32)

    def op(ops: Any, store: Any, v: Any, x: Any, dt: Any, b: Any, c: Any, rows: Any) -> Any:
        return ops.selective_scan(x, dt, b, c, v["a_log"], v["d"], None, store, rows, n_heads=1)

    ours, theirs = on_both(1, vectors, [one, dt, one, one], op)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_grouped_norms() -> None:
    ops, x, weight = CpuOps(2), random(5, 60), random(60, seed=1)
    vector = ops.vector(stored(weight, "norm"))
    for groups in (1, 3, 4):
        found = compute(ops, lambda x, _, n=groups: ops.grouped_rms_norm(x, vector, 1e-5, n), x)
        wanted = ReferenceOps().grouped_rms_norm(torch.from_numpy(x), torch.from_numpy(weight), 1e-5, groups)
        np.testing.assert_allclose(found, wanted.numpy(), rtol=2e-5, atol=1e-6)


def test_a_step_whose_place_is_not_used_never_happened_and_can_be_taken_back() -> None:
    ops, x = CpuOps(1), random(3, 4)
    weight, store = ops.vector(stored(random(12, seed=1))), ops.recurrent_store(8)
    store.reserve(0)

    def step() -> Floats:
        return compute(ops, lambda x, rows: ops.causal_conv(x, weight, None, store, rows), x)

    first = step()
    np.testing.assert_array_equal(step(), first)
    store.use(0, 1)
    store.copy(0, 3)
    store.use(0, 0)
    np.testing.assert_array_equal(step(), first)
    store.use(0, 1)
    second = step()
    assert not np.array_equal(second, first)
    store.clear(0)
    np.testing.assert_array_equal(step(), first)
    store.copy(3, 0)
    np.testing.assert_array_equal(step(), second)
    store.clear(0)
    np.testing.assert_array_equal(step(), first)
    assert store.n_bytes == (2 + 1) * 8 * 4  # nothing advances the copy, so it has one place
    store.free(3)
    assert store.n_bytes == 2 * 8 * 4


def test_what_does_not_fit_is_named() -> None:
    ops, x = CpuOps(1), random(3, 4)
    weight, store = ops.vector(stored(random(12))), ops.recurrent_store(8)
    with pytest.raises(RequestError, match="sequence 0: expected room for its state"):
        compute(ops, lambda x, rows: ops.causal_conv(x, weight, None, store, rows), x)
    store.reserve(0)
    other = ops.recurrent_store(9)
    with pytest.raises(ShapeError, match="values of a state: expected 8, found 9"):
        compute(ops, lambda x, rows: ops.causal_conv(x, weight, None, other, rows), x)
    with pytest.raises(ShapeError, match="factors of w: expected a multiple of 5, found 12"):
        compute(ops, lambda x, rows: ops.causal_conv(x, weight, None, store, rows), random(3, 5))
    with pytest.raises(ShapeError, match="a state of at least one value, found 0"):
        ops.recurrent_store(0)
    with pytest.raises(RequestError, match="sequence 0 has no place 2"):
        store.use(0, 2)
    with pytest.raises(RequestError, match="sequence 7 has no state"):
        store.copy(7, 0)
