"""What a step's rows may be: as many as a tape has room for, of any sequences, and given as embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nearlight.dtypes import F32, Q8_0, Format
from nearlight.errors import RequestError, ShapeError
from nearlight.formats import dequantize, quantize
from nearlight.kernels.count import CountOps
from nearlight.kernels.cpu import CpuOps
from nearlight.kernels.cpu import program as programs
from nearlight.kernels.ops import Rows
from nearlight.kernels.reference import ReferenceOps
from nearlight.package.tensors import StoredTensor
from tests.kernels.cpu_steps import Floats, as_tensors, random, rows_of, stored
from tests.kernels.test_cpu_program import Model

M, V = 70, 131
TOKENS = np.random.default_rng(7).integers(0, V, 200).tolist()
STEPS = [
    [(0, 1), (3, 2)],
    [(1, 33)],
    [(0, 5)],
    [(3, 1), (0, 1), (1, 7)],
    [(1, 1)],
    [(2, 17)],
    [(0, 1), (1, 1), (2, 1), (3, 1), (4, 13)],
]
"""Rows of sequences in steps."""


class Recurrent(Model):
    """The decoder with a convolution and a scan in front."""

    def __init__(self, ops: CpuOps) -> None:
        super().__init__(ops)
        self.factors, self.decay = ops.vector(stored(random(3 * M, seed=8))), ops.vector(stored(random(M, seed=9)))
        self.narrow = {name: self.quantized(name, M, M) for name in ("x", "dt", "b", "c")}
        self.recurrences = [ops.recurrent_store(2 * M), ops.recurrent_store(M * M)]

    def __call__(self, rows: Rows) -> Any:
        ops, narrow = self.ops, self.narrow
        h = ops.causal_conv(ops.embed(self.embedding, rows.tokens), self.factors, None, self.recurrences[0], rows)
        x, dt, b, c = (ops.linear(h, weight) for weight in narrow.values())
        h = ops.selective_scan(x, dt, b, c, self.decay, self.decay, None, self.recurrences[1], rows, n_heads=M)
        h = ops.linear(ops.take(ops.grouped_rms_norm(h, self.scale, 1e-5, 2), rows.logit_rows), self.embedding)
        return ops.add(h, super().__call__(rows))


def computed(threads: int) -> list[Floats]:
    """Compute the steps; every second row of each is a logit row, or none."""
    model = Recurrent(CpuOps(threads))
    program = model.ops.program(model)
    lengths, places, found = [0] * 5, [0] * 5, []
    for number, step in enumerate(STEPS):
        parts = []
        for sequence, n_rows in step:
            start = lengths[sequence]
            for store in model.stores:
                store.reserve(sequence, start + n_rows)
            for recurrence in model.recurrences:
                recurrence.reserve(sequence)
                recurrence.use(sequence, places[sequence])
            tokens = TOKENS[40 * sequence + start :][:n_rows]
            parts.append(rows_of(n_rows, start=start, sequence=sequence, tokens=tokens))
            lengths[sequence], places[sequence] = start + n_rows, 1 - places[sequence]
        names = ("tokens", "positions", "sequences")
        fields = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
        logit_rows = np.arange(0, len(fields[0]), 2, dtype=np.int32) if number != 1 else np.zeros(0, np.int32)
        found.append(program(Rows(*fields, logit_rows)))
    return found


@pytest.mark.parametrize("room", [lambda n: n, lambda n: 2 * n + 1 if n else 0, lambda n: 64 if n else 0])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_room_of_a_tape_changes_no_bits(
    monkeypatch: pytest.MonkeyPatch, threads: int, room: Callable[[int], int]
) -> None:
    wanted = computed(2)
    monkeypatch.setattr(programs, "_room", room)
    for found, result in zip(computed(threads), wanted, strict=True):
        assert found.shape == result.shape
        np.testing.assert_array_equal(found, result)


def test_rows_and_logit_rows_are_not_one_another() -> None:
    """Both may be up to two; but a step may have two rows and one that is asked for. A single row is that one."""
    ops, x = CpuOps(1), random(5, 4)
    table = ops.matrix(stored(x))

    def forward(rows: Rows) -> Any:
        h = ops.embed(table, rows.tokens)
        return ops.add(h, ops.take(h, rows.logit_rows))

    with pytest.raises(ShapeError, match=r"expected \(up to 2 rows, 4\), found \(up to 2 logit rows, 4\)"):
        ops.program(forward)(rows_of(2))
    np.testing.assert_array_equal(ops.program(forward)(rows_of(1)), x[:1] + x[:1])


def test_a_tape_refuses_rows_it_has_no_room_for() -> None:
    ops = CpuOps(1)
    table = ops.matrix(stored(random(9, 4)))
    recording = ops.program(lambda rows: ops.take(ops.embed(table, rows.tokens), rows.logit_rows)).recording(
        rows_of(4, logit_rows=[0])
    )
    for n_rows, logit_rows in ((5, [0]), (4, [0, 1]), (4, [])):
        rows = Rows(*(field.tolist() for field in list(vars(rows_of(n_rows, logit_rows=logit_rows)).values())[:4]))
        with pytest.raises(RequestError, match="rows that it has no room for"):
            recording.replay(rows, None)


# -- embeddings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 9])
def test_a_given_row_is_as_good_as_the_tables(n_rows: int) -> None:
    model = Model(CpuOps(2))
    model.reserve(n_rows)
    program, tokens = model.ops.program(model), np.array(TOKENS[:n_rows])
    wanted = program(rows_of(n_rows, tokens=tokens))
    table = random(V, M)
    given = np.zeros(n_rows, bool)
    given[::3] = True
    mixed = tokens.copy()
    mixed[given] = -1 - np.arange(given.sum())[::-1]
    rows = rows_of(n_rows, tokens=mixed, embeddings=table[tokens[given][::-1]])
    np.testing.assert_array_equal(program(rows), wanted)
    np.testing.assert_array_equal(program(rows_of(n_rows, tokens=tokens)), wanted)
    assert model.calls == 1


@pytest.mark.parametrize("format", [F32, Q8_0], ids=str)
def test_looked_up_rows_are_scaled_and_given_ones_are_not(format: Format) -> None:
    table, given = random(7, 64), random(2, 64, seed=1)
    data = quantize(format, table)
    tensor = StoredTensor.from_bytes("w", format, (7, 64), data)
    rows = rows_of(5, tokens=[3, -2, 6, -1, -2], embeddings=given)
    scaled = dequantize(format, data, 64) * np.float32(1.7)
    wanted = [scaled[3], given[1], scaled[6], given[0], given[1]]
    for ops in (CpuOps(1), CpuOps(2), ReferenceOps()):
        weight = ops.matrix(tensor)
        found = ops.program(lambda rows, ops=ops, w=weight: ops.embed(w, rows.tokens, rows.embeddings, 1.7))(rows)
        np.testing.assert_array_equal(found, wanted)


def test_positions_name_rows_of_the_table_only() -> None:
    table = random(9, 4)
    for ops in (CpuOps(2), ReferenceOps()):
        weight = ops.matrix(stored(table))
        program = ops.program(lambda rows, ops=ops, w=weight: ops.embed(w, rows.positions))
        rows = rows_of(2, start=5, tokens=[-1, -1], embeddings=random(1, 4))
        np.testing.assert_array_equal(program(rows), table[5:7])


def test_embeddings_that_do_not_fit_are_named() -> None:
    model = Model(CpuOps(2))
    model.reserve(3)
    program = model.ops.program(model)
    good = program(rows_of(3, tokens=[1, 2, 3]))
    given = random(2, M)
    faults: list[tuple[list[int], Any, type[Exception], str]] = [
        ([-1, 2, 3], None, RequestError, rf"w: expected ids 0 … {V - 1}, found -1"),
        ([-1, -3, 3], given, RequestError, rf"expected ids 0 … {V - 1}, or -2 … -1 of the embeddings, found -3"),
        ([-1, V, 3], given, RequestError, rf"of the embeddings, found {V}"),
        ([-(2**31), 2, 3], given, RequestError, "found -2147483648"),
        ([1, 2, 3], given[:0], None, ""),
        ([-1, 2, 3], given[:0], RequestError, rf"expected ids 0 … {V - 1}, found -1"),
        ([-1, 2, 3], random(2, M + 1), RequestError, f"expected embeddings of width {M}, found {M + 1}"),
        ([-1, 2, 3], given[0], ShapeError, rf"embeddings of rows: expected two axes, found \[{M}\]"),
    ]
    for tokens, embeddings, error, message in faults:
        rows = rows_of(3, tokens=tokens, embeddings=embeddings)
        if error is None:
            np.testing.assert_array_equal(program(rows), good)
            continue
        with pytest.raises(error, match=message):
            program(rows)
    np.testing.assert_array_equal(program(rows_of(3, tokens=[1, 2, 3], embeddings=given.astype(np.float64))), good)


def test_the_reference_names_embeddings_that_do_not_fit() -> None:
    ops = ReferenceOps()
    weight = ops.matrix(stored(random(9, 4)))
    for tokens, width, error in ([[-1], 5, ShapeError], [[-3], 4, IndexError], [[9], 4, IndexError]):
        rows = as_tensors(rows_of(1, tokens=tokens, embeddings=random(2, width)))
        with pytest.raises(error):
            ops.embed(weight, rows.tokens.long(), rows.embeddings)


def test_given_rows_are_not_read_from_the_table() -> None:
    ops = CountOps()
    weight = ops.matrix(stored(random(9, 4)))
    rows = rows_of(5, tokens=[3, -1, 6, -2, -1], embeddings=random(2, 4))
    ledger = ops.count(lambda rows: ops.embed(weight, rows.tokens, rows.embeddings), rows)
    assert ledger.weight_bytes == 2 * 4 * 4
    with pytest.raises(ShapeError, match="width of the embeddings: expected 4, found 3"):
        ops.embed(weight, rows.tokens, random(2, 3))
