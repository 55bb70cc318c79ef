"""Attention over every format of cache against the reference kernels, and that no division of work changes a bit."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from nearlight.dtypes import F16, F32, Q8_0, Format
from nearlight.errors import ShapeError
from nearlight.kernels.cpu import CpuOps
from nearlight.kernels.ops import Rows, Watch
from nearlight.kernels.reference import ReferenceOps
from tests.kernels.cpu_steps import Floats, as_tensors, compute, joined, random, rows_of, stored

EVERY_KIND = pytest.mark.parametrize("format", [F32, F16, Q8_0], ids=str)
SHAPES = [(1, 1, 5), (6, 2, 20), (4, 1, 80), (8, 1, 33), (3, 3, 7), (71, 1, 20), (2, 1, 150)]  # H, K, D

# Root of the mean squared error over that of the values. Nothing but sums is rounded in float. In 16 bits queries,
# keys, values and weights are, by 0.02 % together, and in the reference keys and values, to f16, by as much. In 8 bits
# queries are, by 0.4 to 0.5 %; what is kept itself is the same in the reference.
ERRORS = {F32: 2e-6, F16: 4e-4, Q8_0: 8e-3}


def inputs_of(n_tokens: int, h: int, k: int, d: int, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    q, key, value = (random(n_tokens, heads * d, seed=seed + i) for i, heads in enumerate((h, k, k)))
    return q, key, value


def attend(
    ops: CpuOps, store: Any, inputs: tuple[Floats, ...], d: int, rows: Rows | None = None, **options: Any
) -> Floats:
    """Attend on the cpu; inputs are those of the rows."""
    rows = rows or rows_of(len(inputs[0]))
    for sequence in np.unique(rows.sequences).tolist():
        store.reserve(sequence, int(rows.positions[rows.sequences == sequence].max()) + 1)
    if "sinks" in options:
        options["sinks"] = ops.vector(stored(options["sinks"], "sinks"))

    def op(q: Any, k: Any, v: Any, rows: Rows) -> Any:
        ops.append(k, v, store, rows)
        return ops.attend(q, store, rows, scale=d**-0.5, **options)

    return compute(ops, op, *inputs, rows=rows)


def reference(inputs: tuple[Floats, ...], k: int, d: int, format: Format, **options: Any) -> Floats:
    ops = ReferenceOps()
    store = ops.kv_store(k, d, format)
    store.reserve(0, len(inputs[0]))
    if "sinks" in options:
        options["sinks"] = torch.from_numpy(options["sinks"])
    rows = as_tensors(rows_of(len(inputs[0])))
    q, key, value = map(torch.from_numpy, inputs)
    ops.append(key, value, store, rows)
    return ops.attend(q, store, rows, scale=d**-0.5, **options).numpy()


def error(found: Floats, wanted: Floats) -> float:
    return float(np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)))


def in_chunks(ops: CpuOps, store: Any, inputs: tuple[Floats, ...], d: int, sizes: list[int], **options: Any) -> Floats:
    start, parts = 0, []
    for size in sizes:
        chunk = tuple(x[start : start + size] for x in inputs)
        parts.append(attend(ops, store, chunk, d, rows_of(size, start=start), **options))
        start += size
    assert start == len(inputs[0])
    return np.concatenate(parts)


@EVERY_KIND
@pytest.mark.parametrize(("h", "k", "d"), SHAPES)
def test_every_format_and_shape(h: int, k: int, d: int, format: Format) -> None:
    ops, inputs = CpuOps(2), inputs_of(37, h, k, d)
    found = attend(ops, ops.kv_store(k, d, format), inputs, d)
    assert error(found, reference(inputs, k, d, format)) <= ERRORS[format]


@EVERY_KIND
@pytest.mark.parametrize("n_tokens", [255, 257, 521])
def test_lengths_around_the_ends_of_segments_and_splits(n_tokens: int, format: Format) -> None:
    ops, inputs = CpuOps(2), inputs_of(n_tokens, 6, 2, 20)
    found = attend(ops, ops.kv_store(2, 20, format), inputs, 20)
    wanted = reference(inputs, 2, 20, format)
    assert error(found, wanted) <= ERRORS[format]
    assert error(found[-9:], wanted[-9:]) <= 2 * ERRORS[format]


OPTIONS = {
    "window 1": {"window": 1},
    "window 7": {"window": 7},
    "window 130": {"window": 130},
    "window 600": {"window": 600},
    "chunks of 1": {"window": 1, "chunked": True},
    "chunks of 7": {"window": 7, "chunked": True},
    "chunks of 130": {"window": 130, "chunked": True},
    "one chunk": {"window": 600, "chunked": True},
    "softcap": {"softcap": 1.5},
    "sinks": {"sinks": np.array([3.0, -2.0, 0.5, 9.0, 1.0, 0.0], np.float32)},
    "all": {"window": 45, "softcap": 2.0, "sinks": np.array([1.0, 2.0, 0.5, 4.0, -1.0, 0.0], np.float32)},
}


@EVERY_KIND
@pytest.mark.parametrize("name", OPTIONS)
def test_windows_softcaps_and_sinks(name: str, format: Format) -> None:
    ops, inputs = CpuOps(2), inputs_of(331, 6, 2, 20)
    found = attend(ops, ops.kv_store(2, 20, format), inputs, 20, **OPTIONS[name])
    assert error(found, reference(inputs, 2, 20, format, **OPTIONS[name])) <= ERRORS[format]


@EVERY_KIND
def test_what_lies_behind_the_window_is_not_read(format: Format) -> None:
    ops, (q, k, v) = CpuOps(2), inputs_of(700, 2, 1, 8)
    k[:128], v[:128] = np.nan, np.nan
    found = attend(ops, ops.kv_store(1, 8, format), (q, k, v), 8, window=90)
    assert np.isfinite(found[128 + 90 :]).all()
    assert not (np.abs(found[:128]) < 100).any()


@EVERY_KIND
def test_what_lies_in_the_chunk_before_is_not_read(format: Format) -> None:
    ops, (q, k, v) = CpuOps(2), inputs_of(700, 2, 1, 8)
    k[:384], v[:384] = np.nan, np.nan
    found = attend(ops, ops.kv_store(1, 8, format), (q, k, v), 8, window=128, chunked=True)
    assert np.isfinite(found[384:]).all()
    assert not (np.abs(found[:384]) < 100).any()


@pytest.mark.parametrize(
    "options",
    [{}, {"window": 100}, OPTIONS["all"], {"window": 40, "chunked": True}],
    ids=["plain", "window", "all", "chunks"],
)
@EVERY_KIND
@pytest.mark.parametrize(("h", "k", "d"), [(6, 2, 20), (8, 1, 33), (3, 3, 7), (6, 6, 16)])
def test_any_chunks_and_threads_give_the_same_bits(h: int, k: int, d: int, format: Format, options: Any) -> None:
    if "sinks" in options and h != 6:
        options = {name: value for name, value in options.items() if name != "sinks"}
    inputs = inputs_of(301, h, k, d)
    one = CpuOps(1)
    whole = attend(one, one.kv_store(k, d, format), inputs, d, **options)
    for threads in (1, 2, 3):
        ops = CpuOps(threads)
        found = in_chunks(ops, ops.kv_store(k, d, format), inputs, d, [1, 2, 5, 1, 64, 55, 1, 128, 44], **options)
        np.testing.assert_array_equal(found, whole)


@EVERY_KIND
@pytest.mark.parametrize(
    "options",
    [{}, {"window": 700}, {"window": 8192}, {"window": 8196, "chunked": True}],
    ids=["plain", "short", "long", "chunks"],
)
def test_splits_shared_by_threads_give_the_same_bits(format: Format, options: Any) -> None:
    """Rows around position 8192, from where on splits are longer, in steps that share them and in one that does not."""
    n_tokens, h, k, d = 8204, 3, 1, 6
    inputs = inputs_of(n_tokens, h, k, d)
    one = CpuOps(1)
    whole = attend(one, one.kv_store(k, d, format), inputs, d, **options)[8187:]
    for threads in (2, 3):
        ops = CpuOps(threads)
        store = ops.kv_store(k, d, format)
        found = in_chunks(ops, store, inputs, d, [8187, 1, 8, 7, 1], **options)[8187:]
        np.testing.assert_array_equal(found, whole)
        again = attend(ops, store, tuple(x[8188:8196] for x in inputs), d, rows_of(8, start=8188), **options)
        np.testing.assert_array_equal(again, whole[1:9])


@EVERY_KIND
def test_rows_far_apart_in_a_window_are_not_shared_out_together(format: Format) -> None:
    """Together they would see more splits than there is room for, though none sees more than two."""
    h, k, d, field = 3, 1, 6, np.arange(5, dtype=np.int32)
    rows = Rows(field, np.array([10, 40, 9_000, 9_001, 199_999], np.int32), 0 * field, field)
    found = []
    for threads in (1, 2):
        ops = CpuOps(threads)
        found.append(attend(ops, ops.kv_store(k, d, format), inputs_of(5, h, k, d), d, rows, window=100))
    np.testing.assert_array_equal(found[1], found[0])


@EVERY_KIND
@pytest.mark.parametrize("threads", [1, 3])
def test_layers_share_a_schedule_that_is_made_anew_for_every_step(threads: int, format: Format) -> None:
    """Layers of two windows, and steps of as many rows on the same tape: of one sequence, of three, of one again."""
    windows, (h, k, d) = [None, 100, None], (6, 2, 20)
    steps = [
        rows_of(700),
        rows_of(8, start=700),
        joined(rows_of(3, start=708), rows_of(1, sequence=5), rows_of(4, sequence=9)),
        rows_of(8, start=711),
    ]

    def run(ops: CpuOps, windows: list[int | None], one_tape: bool) -> list[Floats]:
        tables = [ops.matrix(stored(values)) for values in inputs_of(700, h, k, d)]
        layers = [(ops.kv_store(k, d, format), window) for window in windows]
        for (store, _), (sequence, room) in itertools.product(layers, {0: 719, 5: 1, 9: 4}.items()):
            store.reserve(sequence, room)

        def forward(rows: Rows) -> Any:
            q, key, value = (ops.embed(table, rows.tokens) for table in tables)
            for store, _ in layers:
                ops.append(key, value, store, rows)
            outs = [ops.attend(q, store, rows, scale=1.0, window=window) for store, window in layers]
            return functools.reduce(ops.add, outs)

        program = ops.program(forward)
        return [program(rows) if one_tape else ops.program(forward)(rows) for rows in steps]

    alone = [run(CpuOps(1), [window], one_tape=False) for window in windows]
    for found, *wanted in zip(run(CpuOps(threads), windows, one_tape=True), *alone, strict=True):
        np.testing.assert_array_equal(found, sum(wanted))


def test_splits_of_a_stopped_step_are_forgotten() -> None:
    n_tokens, h, k, d = 8192, 2, 1, 8
    ops, inputs = CpuOps(2), inputs_of(n_tokens, h, k, d)
    store = ops.kv_store(k, d, F32)
    attend(ops, store, inputs, d, window=1)  # quick, and fills the store
    queries = [ops.matrix(stored(random(n_tokens, h * d, seed=seed))) for seed in (5, 6)]
    key, value = (ops.matrix(stored(values)) for values in inputs[1:])

    def forward(rows: Rows) -> Any:
        """Attend often enough to be stopped at any of many pieces."""
        k, v, *qs = (ops.embed(table, rows.tokens) for table in (key, value, *queries))
        total = qs[0]
        for i in range(100):
            ops.append(k, v, store, rows)
            total = ops.add(total, ops.attend(qs[i % 2], store, rows, scale=1.0))
        return total

    def stops_at(n_asked: int) -> Watch:
        """Let a step go on until it has asked so often."""
        asked = itertools.count(1)

        def watch() -> None:
            if next(asked) == n_asked:
                raise InterruptedError

        return watch

    program, rows = ops.program(forward), rows_of(8, start=8184, tokens=range(8184, 8192))
    wanted = program(rows)
    ops.runtime.ask_every_s = 0.0
    for n_asked in range(2, 40, 3):
        with pytest.raises(InterruptedError):
            program(rows, stops_at(n_asked))
    np.testing.assert_array_equal(program(rows), wanted)


@EVERY_KIND
def test_batched_equals_single_bit_for_bit(format: Format) -> None:
    lengths, (h, k, d) = {4: 140, 0: 1, 9: 31}, (6, 2, 20)
    inputs = {sequence: inputs_of(length, h, k, d, seed=sequence) for sequence, length in lengths.items()}
    rows = joined(*(rows_of(length, sequence=sequence) for sequence, length in lengths.items()))
    rows = Rows(rows.logit_rows, rows.positions, rows.sequences, rows.logit_rows)
    ops = CpuOps(2)
    together = tuple(np.concatenate(parts) for parts in zip(*inputs.values(), strict=True))
    found = attend(ops, ops.kv_store(k, d, format), together, d, rows)
    alone = [attend(ops, ops.kv_store(k, d, format), each, d) for each in inputs.values()]
    np.testing.assert_array_equal(found, np.concatenate(alone))


@EVERY_KIND
def test_copied_and_cut_sequences_go_on_as_if_written_alone(format: Format) -> None:
    h, k, d = 6, 2, 20
    base, other = inputs_of(290, h, k, d), inputs_of(290, h, k, d, seed=7)
    ops = CpuOps(2)
    store = ops.kv_store(k, d, format)
    attend(ops, store, base, d)
    store.copy(0, 3, 290)
    for sequence, cut in ((0, 131), (3, 257)):
        mixed = tuple(np.concatenate([a[:cut], b[cut:]]) for a, b in zip(base, other, strict=True))
        tail = attend(ops, store, tuple(x[cut:] for x in mixed), d, rows_of(290 - cut, start=cut, sequence=sequence))
        np.testing.assert_array_equal(tail, attend(ops, ops.kv_store(k, d, format), mixed, d)[cut:])


@pytest.mark.parametrize(("format", "bound"), [(F32, 1e-6), (F16, 2e-4)], ids=str)
def test_errors_are_those_of_the_cache_alone(format: Format, bound: float) -> None:
    """Against float64: codes of 16 bits lose less than f16, which is 0.02 % of a key or value on average."""
    h, k, d, n = 6, 2, 64, 300
    inputs, ops = inputs_of(n, h, k, d), CpuOps(2)
    q, key, value = (x.astype(np.float64).reshape(n, -1, d) for x in inputs)
    scores = np.einsum("thd,shd->hts", q, key.repeat(h // k, 1)) * d**-0.5
    scores[:, ~np.tri(n, dtype=bool)] = -np.inf
    p = np.exp(scores - scores.max(-1, keepdims=True))
    wanted = np.einsum("hts,shd->thd", p / p.sum(-1, keepdims=True), value.repeat(h // k, 1)).reshape(n, -1)
    whole = attend(ops, ops.kv_store(k, d, format), inputs, d)
    single = in_chunks(ops, ops.kv_store(k, d, format), inputs, d, [1] * n)
    assert error(whole, wanted) <= bound
    np.testing.assert_array_equal(single, whole)


def test_eight_bits_keep_what_the_reference_keeps() -> None:
    """One token is seen: its value comes back as codes and scale have it."""
    d = 70
    value = random(1, d, scale=40.0)
    ops = CpuOps(1)
    inputs = (random(1, d), random(1, d), value)
    found = attend(ops, ops.kv_store(1, d, Q8_0), inputs, d)
    np.testing.assert_allclose(found, reference(inputs, 1, d, Q8_0), rtol=2e-6)
    scale = np.float32(np.float16(np.abs(value).max() / 127))
    np.testing.assert_allclose(found, np.round(value / scale) * scale, rtol=2e-6)


def test_eight_bits_lose_no_token_of_small_weight() -> None:
    """A hundred tokens of a thousandth of the largest weight each: fixed point of 7 bits would forget them all."""
    d, n = 16, 101
    q, k, v = np.zeros((n, d), np.float32), np.zeros((n, d), np.float32), np.ones((n, d), np.float32)
    q[:, 0], k[0, 0], v[0] = d**0.5 * np.log(1000), 1.0, 0.0
    ops = CpuOps(1)
    found = attend(ops, ops.kv_store(1, d, Q8_0), (q, k, v), d)
    np.testing.assert_allclose(found[-1], 100 / 1100, rtol=0.02)


def test_options_that_make_no_sense_are_refused() -> None:
    ops, inputs = CpuOps(1), inputs_of(3, 6, 2, 4)
    for options, message in (
        ({"window": 0}, "attention window: expected at least 1 token, found 0"),
        ({"softcap": -1.0}, "attention softcap: expected above 0, found -1.0"),
        ({"sinks": np.zeros(5, np.float32)}, "sinks: expected 6, found 5"),
    ):
        with pytest.raises(ShapeError, match=message):
            attend(ops, ops.kv_store(2, 4, F32), inputs, 4, **options)
