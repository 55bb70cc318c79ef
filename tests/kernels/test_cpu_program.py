"""Recording and replaying: the same results from any tape, thread count, process or division into rows."""

import os
import threading
from typing import Any

import numpy as np
import pytest

from nearlight.dtypes import F16, Q8_0, Format
from nearlight.errors import RequestError, ShapeError
from nearlight.formats import quantize
from nearlight.kernels.cpu import CpuOps
from nearlight.kernels.cpu import program as programs
from nearlight.kernels.cpu.program import CpuProgram
from nearlight.kernels.ops import Rows
from nearlight.package.tensors import StoredTensor
from tests.kernels.cpu_steps import Floats, random, rows_of, stored

K, D, M, F, V = 2, 10, 70, 90, 131


class Model:
    """A decoder of two layers with every kind of op, and its cache."""

    def __init__(self, ops: CpuOps, K: int = K, D: int = D, M: int = M, F: int = F) -> None:
        self.ops = ops
        H, self.head_dim = 3 * K, D
        self.calls = 0
        self.embedding = ops.matrix(stored(random(V, M)))
        self.scale, self.shift = ops.vector(stored(1 + random(M, seed=1))), ops.vector(stored(random(M, seed=2)))
        self.head_scale = ops.vector(stored(1 + random(D, seed=3)))
        sizes = {"q": (H * D, M), "k": (K * D, M), "v": (K * D, M), "o": (M, H * D)}
        sizes |= {"gate": (F, M), "up": (F, M), "down": (M, F)}
        self.weights = {name: self.quantized(name, *size) for name, size in sizes.items()}
        self.stores = [ops.kv_store(K, D, F16) for _ in range(2)]
        self.frequencies = (50.0 ** -(np.arange(3) / 3)).astype(np.float32)

    def quantized(self, name: str, n_out: int, n_in: int) -> Any:
        data = quantize(Q8_0, random(n_out, n_in, seed=len(name) * 7 + ord(name[0]), scale=n_in**-0.5))
        return self.ops.matrix(StoredTensor.from_bytes(name, Q8_0, (n_out, n_in), data))

    def __call__(self, rows: Rows) -> Any:
        self.calls += 1
        ops, w = self.ops, self.weights
        h = ops.embed(self.embedding, rows.tokens, rows.embeddings)
        angles = ops.rope_angles(rows, lambda lengths: self.frequencies, 1.0)
        for store in self.stores:
            x = ops.layer_norm(h, self.scale, self.shift, 1e-5)
            q, k, v = ops.linear(x, w["q"]), ops.linear(x, w["k"]), ops.linear(x, w["v"])
            q, k = ops.rms_norm(q, self.head_scale, 1e-6), ops.rms_norm(k, self.head_scale, 1e-6)
            q, k = ops.rope(q, angles, self.head_dim), ops.rope(k, angles, self.head_dim)
            ops.append(k, v, store, rows)
            attended = ops.attend(q, store, rows, scale=self.head_dim**-0.5)
            h = ops.add(h, ops.linear(attended, w["o"], self.shift))
            x = ops.rms_norm(h, self.scale, 1e-6)
            gated = ops.swiglu(ops.linear(x, w["gate"]), ops.gelu(ops.linear(x, w["up"]), "tanh"))
            h = ops.add(h, ops.linear(gated, w["down"]))
        return ops.linear(ops.take(h, rows.logit_rows), self.embedding)

    def reserve(self, n_tokens: int) -> None:
        for store in self.stores:
            store.reserve(0, n_tokens)


TOKENS = np.random.default_rng(5).integers(0, V, 61).tolist()


def run(model: Model, program: CpuProgram, sizes: list[int]) -> Floats:
    """Compute the logits of all tokens in chunks of these sizes."""
    model.reserve(len(TOKENS))
    parts, start = [], 0
    for size in sizes:
        parts.append(program(rows_of(size, start=start, tokens=TOKENS[start : start + size])))
        start += size
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def whole() -> Floats:
    model = Model(CpuOps(1))
    return run(model, model.ops.program(model), [len(TOKENS)])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_chunks_and_threads_give_the_same_bits(whole: Floats, threads: int) -> None:
    model = Model(CpuOps(threads))
    program = model.ops.program(model)
    for sizes in ([61], [1] * 61, [2, 3, 5, 7, 44], [60, 1]):
        np.testing.assert_array_equal(run(model, program, sizes), whole)


@pytest.mark.parametrize("format", [F16, Q8_0], ids=str)
def test_heads_of_a_single_row_give_the_same_bits_on_any_threads(format: Format) -> None:
    """Eight key heads are enough for two threads and too few for five, which share out the parts of rows instead."""
    results = []
    for threads in (1, 2, 3, 5):
        model = Model(CpuOps(threads), K=8)
        model.stores = [model.ops.kv_store(8, D, format) for _ in range(2)]
        program = model.ops.program(model)
        results.append(run(model, program, [17, *[1] * 44]))
        n_stages = program.recording(rows_of(1)).tape.n_stages
        assert n_stages < 2 * 10 + 2 if threads in (2, 3) else n_stages == 2 * 10 + 2
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_parts_of_a_single_row_give_the_same_bits_as_rows() -> None:
    """Where sizes can be cut into eight parts, products too are pieces with what follows them, if threads are few."""
    results = []
    for threads in (1, 2, 3, 4, 5):
        model = Model(CpuOps(threads), K=8, D=64, M=512, F=1024)
        program = model.ops.program(model)
        results += [run(model, program, [1] * 61), run(model, program, [61])]
        n_stages = program.recording(rows_of(1)).tape.n_stages
        assert n_stages == 2 * 6 + 2 if threads == 2 else n_stages > 2 * 6 + 2
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_a_layer_of_a_single_row_has_six_stages() -> None:
    model = Model(CpuOps(2), K=8, D=64, M=512, F=1024)
    w = "w"  # of norms
    layer = [
        [w, "quantize"],
        ["q", "k", "v", w, w, "rope", "rope", "append", "attend", "quantize"],
        ["o", "add"],
        [w, "quantize"],
        ["gate", "up", "gelu", "swiglu", "quantize"],
        ["down", "add"],
    ]
    stages = model.ops.program(model).recording(rows_of(1)).tape.stages
    assert stages[0] == [w, "rope_angles", *layer[0]]
    assert stages[1:-2] == [*layer[1:], *layer]
    assert stages[-2:] == [["take", "quantize"], [w]]


def test_a_result_is_not_touched_by_later_steps(whole: Floats) -> None:
    model = Model(CpuOps(2))
    program = model.ops.program(model)
    model.reserve(len(TOKENS))
    rows = [rows_of(1, start=i, tokens=TOKENS[i : i + 1]) for i in range(9)]
    results = [program(row) for row in rows]
    np.testing.assert_array_equal(np.concatenate(results), whole[:9])


def test_a_tape_has_room_for_fewer_rows(whole: Floats) -> None:
    model = Model(CpuOps(2))
    program = model.ops.program(model)
    for size in (17, 32, 20):
        np.testing.assert_array_equal(run(model, program, [size] + [1] * (61 - size)), whole)
    assert model.calls == 2
    program(rows_of(20, tokens=TOKENS[:20], logit_rows=[19]))
    assert model.calls == 3


def test_wanted_rows_only(whole: Floats) -> None:
    model = Model(CpuOps(2))
    model.reserve(61)
    program = model.ops.program(model)
    for logit_rows in ([60], [3, 17], []):
        np.testing.assert_array_equal(program(rows_of(61, tokens=TOKENS, logit_rows=logit_rows)), whole[logit_rows])


def test_tapes_used_least_recently_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "KEPT_TAPES", 3)
    ops = CpuOps(1)
    table = ops.matrix(stored(random(9, 2)))
    rooms: list[int] = []

    def forward(rows: Rows) -> Any:
        rooms.append(rows.tokens.shape[0].most)
        return ops.embed(table, rows.tokens)

    program = ops.program(forward)
    for n in (1, 2, 3, 1, 9, 4, 1, 2):
        program(rows_of(n, tokens=[0] * n))
    assert rooms == [1, 2, 4, 16, 2]


def test_slots_are_reused_and_few_stages_are_needed() -> None:
    model = Model(CpuOps(2))
    model.reserve(61)
    tape = model.ops.program(model).recording(rows_of(1)).tape
    # A layer has these stages: norm, quantize | q, k, v | head norms, ropes, append | attend | quantize | o |
    # add, norm, quantize | up, gate | gelu, swiglu, quantize | down | add (with take and quantize of the head) | head.
    assert tape.n_commands == 2 + 2 * 23 + 3
    assert 2 * 10 + 2 <= tape.n_stages <= 2 * 10 + 3  # one more where places happen to overlap
    scratch = 4 * (3 * (3 * 16 + 2 * 128 + 4) + 257 * 16 + 256)  # of a thread, for the three heads of a key head
    parts = 4 * K * 18 * 3 * (16 + 2)
    assert tape.arena_bytes < 8 * 4 * max(M, F) + 2 * scratch + parts + 1024  # 8 activations


@pytest.mark.parametrize(("width", "n_stages"), [(8, 1), (4, 2)])
def test_rows_of_another_length_in_the_same_place_wait(width: int, n_stages: int) -> None:
    """Both take one cache line; but a short second row lies where the long first one is still read."""
    ops = CpuOps(2)
    long, short = ops.matrix(stored(random(9, 8))), ops.matrix(stored(random(9, width)))
    kept: list[Any] = []

    def forward(rows: Rows) -> Any:
        x = ops.embed(long, rows.tokens)
        y = ops.embed(short, rows.tokens)
        kept.append(ops.gelu(x, "tanh"))
        del x
        return ops.gelu(y, "tanh")  # takes the place of x

    assert ops.program(forward).recording(rows_of(2)).tape.n_stages == n_stages


def test_many_threads_on_few_cores_finish(whole: Floats) -> None:
    model = Model(CpuOps(4 * (os.cpu_count() or 1)))
    program = model.ops.program(model)
    np.testing.assert_array_equal(run(model, program, [30] + [1] * 31), whole)


def test_kernel_sets_and_python_threads_side_by_side(whole: Floats) -> None:
    results: dict[int, Floats] = {}

    def work(number: int, program: CpuProgram, model: Model) -> None:
        results[number] = run(model, program, [31] + [1] * 30)

    models = [Model(CpuOps(2)), Model(CpuOps(1))]
    programs = [model.ops.program(model) for model in models]
    threads = [
        threading.Thread(target=work, args=(i, *pair)) for i, pair in enumerate(zip(programs, models, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        np.testing.assert_array_equal(results[number], whole)


def test_one_program_from_two_python_threads(whole: Floats) -> None:
    model = Model(CpuOps(2))
    model.reserve(61)
    program = model.ops.program(model)
    equal: list[bool] = []

    def work(size: int) -> None:
        for _ in range(5):
            found = program(rows_of(size, tokens=TOKENS[:size]))
            equal.append(bool((found == whole[:size]).all()))

    threads = [threading.Thread(target=work, args=(size,)) for size in (3, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert equal == [True] * 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_makes_threads_of_its_own(whole: Floats) -> None:
    model = Model(CpuOps(3))
    program = model.ops.program(model)
    run(model, program, [61])
    child = os.fork()
    if child == 0:
        same = (run(model, program, [31, 30]) == whole).all()
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    np.testing.assert_array_equal(run(model, program, [61]), whole)


def test_ids_out_of_range_are_refused() -> None:
    model = Model(CpuOps(2))
    model.reserve(61)
    program = model.ops.program(model)
    good = program(rows_of(2, tokens=[3, 4]))
    for tokens, logit_rows, message in (
        ([3, V], [0], rf"expected ids 0 … {V - 1}, found {V}"),
        ([-1, 4], [0], "found -1"),
        ([3, 4], [2], "logit rows: expected 0 … 1, found 2"),
        ([3, 4], [-1], "logit rows"),
    ):
        with pytest.raises(RequestError, match=message):
            program(rows_of(2, tokens=tokens, logit_rows=logit_rows))
    np.testing.assert_array_equal(program(rows_of(2, tokens=[3, 4])), good)


def test_fields_of_unequal_length_are_refused() -> None:
    model = Model(CpuOps(1))
    program = model.ops.program(model)
    three, two = np.arange(3, dtype=np.int32), np.arange(2, dtype=np.int32)
    with pytest.raises(ShapeError, match=r"equal numbers, at least 1, found \[3, 2, 3\]"):
        program(Rows(three, two, three, two))
    with pytest.raises(ShapeError, match="at least 1"):
        program(rows_of(0))


def test_activations_do_not_outlive_their_step() -> None:
    ops = CpuOps(1)
    table = ops.matrix(stored(random(9, 4)))
    kept: list[Any] = []

    def forward(rows: Rows) -> Any:
        kept.append(ops.embed(table, rows.tokens))
        return ops.gelu(kept[0], "none")

    program = ops.program(forward)
    program(rows_of(2))
    with pytest.raises(ValueError, match="an activation of another step"):
        program(rows_of(3))
    with pytest.raises(ShapeError, match="only inside a program"):
        ops.gelu(kept[0], "none")


def test_a_forward_that_fails_leaves_nothing_behind(whole: Floats) -> None:
    model = Model(CpuOps(2))
    healthy = model.ops.program(model)

    def forward(rows: Rows) -> Any:
        model(rows)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.ops.program(forward)(rows_of(2))
    np.testing.assert_array_equal(run(model, healthy, [61]), whole)


def test_profile_names_every_command() -> None:
    model = Model(CpuOps(2))
    model.reserve(61)
    program = model.ops.program(model)
    tape = program.recording(rows_of(5)).tape
    program(rows_of(5))
    assert sum(seconds for _, seconds in tape.profile()) == 0
    tape.set_profiling(True)
    program(rows_of(5))
    names = [name for name, _ in tape.profile()]
    assert names.count("q") == names.count("attend") == names.count("swiglu") == 2
    assert all(seconds > 0 for _, seconds in tape.profile())
    assert tape.waited_seconds >= 0
    assert len(names) == tape.n_commands


@pytest.mark.parametrize("threads", [0, -3, 1025])
def test_senseless_thread_counts_are_refused(threads: int) -> None:
    with pytest.raises(RequestError, match=r"threads: expected 1 … 1024"):
        CpuOps(threads)
