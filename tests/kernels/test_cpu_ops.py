"""Each op of the CPU kernels against the same formula in float64 (attention has a file of its own)."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from nearlight.dtypes import BF16, Q8_0
from nearlight.errors import PackageError, ShapeError
from nearlight.formats import dequantize, quantize
from nearlight.kernels.cpu import CpuOps
from nearlight.package.tensors import StoredTensor
from tests.kernels.cpu_steps import Floats, compute, random, rows_of, stored


@pytest.fixture(params=[1, 3])
def ops(request: pytest.FixtureRequest) -> CpuOps:
    return CpuOps(request.param)


def close(found: Floats, expected: np.ndarray, tolerance: float = 2e-6) -> None:
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("width", [1, 7, 16, 83])
def test_embed_takes_rows_in_any_order(ops: CpuOps, width: int) -> None:
    table = random(5, width)
    found = compute(ops, lambda x, rows: x, table, rows=rows_of(4, tokens=[3, 0, 4, 3]))
    np.testing.assert_array_equal(found, table[[3, 0, 4, 3]])


@pytest.mark.parametrize(("n_rows", "n_in", "n_out"), [(1, 3, 2), (2, 70, 35), (5, 33, 131), (13, 257, 19)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_in_float32(ops: CpuOps, n_rows: int, n_in: int, n_out: int, with_bias: bool) -> None:
    x, weight, bias = random(n_rows, n_in), random(n_out, n_in, seed=1), random(n_out, seed=2)
    matrix = ops.matrix(stored(weight, "weight"))
    vector = ops.vector(stored(bias, "bias")) if with_bias else None
    found = compute(ops, lambda h, rows: ops.linear(h, matrix, vector), x)
    expected = x.astype(np.float64) @ weight.T.astype(np.float64) + (bias if with_bias else 0)
    close(found, expected)
    assert matrix.shape == (n_out, n_in)
    assert matrix.name == "weight"


@pytest.mark.parametrize(("format", "tolerance"), [(BF16, 1e-2), (Q8_0, 1.5e-2)])
def test_linear_in_other_bits(ops: CpuOps, format: object, tolerance: float) -> None:
    x, weight = random(4, 96), random(37, 96, seed=1)
    data = quantize(format, weight)
    matrix = ops.matrix(StoredTensor.from_bytes("w", format, weight.shape, data))
    found = compute(ops, lambda h, rows: ops.linear(h, matrix), x)
    close(found, x @ dequantize(format, data, 96).T, tolerance)


def test_one_input_quantized_once_serves_several_matrices(ops: CpuOps) -> None:
    x, first, second = random(3, 64), random(5, 64, seed=1), random(7, 64, seed=2)
    a, b = (ops.matrix(stored(w)) for w in (np.tile(first, (7, 1)), np.tile(second, (5, 1))))
    found = compute(ops, lambda h, rows: ops.add(ops.linear(h, a), ops.linear(h, b)), x)
    close(found, x @ (np.tile(first, (7, 1)) + np.tile(second, (5, 1))).T)


@pytest.mark.parametrize(("n", "heads"), [(3, 1), (16, 5), (83, 2)])
def test_rms_norm_of_each_head(ops: CpuOps, n: int, heads: int) -> None:
    x, weight = random(4, heads * n, scale=3), random(n, seed=1)
    vector = ops.vector(stored(weight))
    found = compute(ops, lambda h, rows: ops.rms_norm(h, vector, 1e-5), x)
    parts = x.astype(np.float64).reshape(4, heads, n)
    expected = parts / np.sqrt((parts**2).mean(-1, keepdims=True) + 1e-5) * weight
    close(found, expected.reshape(4, -1))


def test_rms_norm_without_a_weight(ops: CpuOps) -> None:
    x, ones = random(4, 3 * 19, scale=3), ops.vector(stored(np.ones(19, np.float32)))
    found = compute(ops, lambda h, rows: ops.rms_norm(h, None, 1e-5, 19), x)
    np.testing.assert_array_equal(found, compute(ops, lambda h, rows: ops.rms_norm(h, ones, 1e-5), x))
    for senseless in (None, 0, 18):
        with pytest.raises(ShapeError, match="input of rms_norm: expected a multiple of"):
            compute(ops, lambda h, rows, n=senseless: ops.rms_norm(h, None, 1e-5, n), x)


@pytest.mark.parametrize("n", [2, 16, 45])
def test_layer_norm(ops: CpuOps, n: int) -> None:
    x, weight, bias = random(5, n) + 7, random(n, seed=1), random(n, seed=2)
    scale, shift = ops.vector(stored(weight)), ops.vector(stored(bias))
    found = compute(ops, lambda h, rows: ops.layer_norm(h, scale, shift, 1e-5), x)
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias
    close(found, expected, 5e-6)


@pytest.mark.parametrize(("heads", "head_dim", "rotary"), [(1, 2, 2), (3, 10, 6), (2, 70, 70)])
def test_rope_turns_half_split_pairs(ops: CpuOps, heads: int, head_dim: int, rotary: int) -> None:
    x = random(5, heads * head_dim)
    frequencies = (100.0 ** -(np.arange(rotary // 2) / rotary)).astype(np.float32)

    def op(h: object, rows: object) -> object:
        return ops.rope(h, ops.rope_angles(rows, lambda lengths: frequencies, 1.5), head_dim)

    found = compute(ops, op, x, rows=rows_of(5, start=900))
    angle = (np.arange(900, 905, dtype=np.float32)[:, None] * frequencies).astype(np.float64)[:, None]
    parts = x.astype(np.float64).reshape(5, heads, head_dim)
    a, b, rest = np.split(parts, [rotary // 2, rotary], axis=-1)
    cos, sin = 1.5 * np.cos(angle), 1.5 * np.sin(angle)
    close(found, np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1).reshape(5, -1))


def test_frequencies_are_asked_for_with_every_step(ops: CpuOps) -> None:
    table = ops.matrix(stored(np.ones((9, 2))))
    asked: list[list[int]] = []

    def frequencies(lengths: Sequence[int]) -> Floats:
        asked.append(list(lengths))
        return np.full(1, 1 / max(lengths), dtype=np.float32)

    def forward(rows: object) -> object:
        return ops.rope(ops.embed(table, rows.tokens), ops.rope_angles(rows, frequencies, 1.0), 2)

    program = ops.program(forward)
    for start in (3, 700, 5):
        found = program(rows_of(2, start=start))
        angle = np.arange(start, start + 2) / (start + 2)
        close(found, np.stack([np.cos(angle) - np.sin(angle), np.cos(angle) + np.sin(angle)], -1))
        assert asked[-1] == [start + 1, start + 2]


@pytest.mark.parametrize("n_rows", [1, 2, 70])
def test_every_row_may_have_frequencies_of_its_own(ops: CpuOps, n_rows: int) -> None:
    """By the length of its sequence; alone it has the same bits."""
    x, heads = random(n_rows, 2 * 10), 2

    def frequencies(lengths: Sequence[int]) -> Floats:
        return np.stack([np.full(3, 1 / length, dtype=np.float32) for length in lengths])

    def turned(h: object, rows: object) -> object:
        return ops.rope(h, ops.rope_angles(rows, frequencies, 1.5), 10)

    lengths = [90 + 7 * (r % 5) for r in range(n_rows)]
    found = compute(ops, turned, x, rows=replace(rows_of(n_rows, start=4), lengths=lengths))
    angle = np.float32(4 + np.arange(n_rows)) * np.float32(1 / np.array(lengths))
    cos, sin = (1.5 * part.astype(np.float64)[:, None, None] for part in (np.cos(angle), np.sin(angle)))
    a, b, rest = np.split(x.reshape(n_rows, heads, 10), [3, 6], axis=-1)
    close(found, np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1).reshape(n_rows, -1))
    alone = rows_of(1, start=4 + n_rows - 1)
    np.testing.assert_array_equal(compute(ops, turned, x[-1:], rows=replace(alone, lengths=lengths[-1:])), found[-1:])


@pytest.mark.parametrize("n_rows", [1, 3, 50])
def test_scale_by_position(ops: CpuOps, n_rows: int) -> None:
    x = random(n_rows, 7 * 5)
    rows = rows_of(n_rows, start=30)

    def scaled(h: object, rows: object) -> object:
        return ops.scale_by_position(h, rows, strength=0.3, period=8, offset=1)

    factors = 1 + 0.3 * np.log(1 + (np.arange(30, 30 + n_rows) + 1) // 8)
    close(compute(ops, scaled, x, rows=rows), x * factors[:, None])
    with pytest.raises(ShapeError, match="rows to scale by position"):
        compute(ops, lambda h, rows: scaled(ops.take(h, rows.logit_rows), rows), x, rows=rows_of(3, logit_rows=[0]))


def test_a_norm_without_weights(ops: CpuOps) -> None:
    x = random(4, 3 * 14, scale=2)
    heads = x.reshape(4, 3, 14).astype(np.float64)
    wanted = (heads / np.sqrt((heads**2).mean(-1, keepdims=True) + 1e-5)).reshape(4, -1)
    close(compute(ops, lambda h, rows: ops.rms_norm(h, None, 1e-5, 14), x), wanted)


EXTREMES = np.array(
    [[-1e30, -200, -88, -20, -5, -1e-3, 0, 1e-30, 1e-3, 0.5, 1, 5, 20, 88, 200, 1e30, -0.5]], np.float32
)


@pytest.mark.parametrize("shape", [(1, 5), (3, 41), (2, 5000)])
def test_swiglu(ops: CpuOps, shape: tuple[int, int]) -> None:
    gate, up = random(*shape, scale=4), random(*shape, seed=1)
    wide = gate.astype(np.float64)
    found = compute(ops, lambda g, u, rows: ops.swiglu(g, u), gate, up)
    np.testing.assert_allclose(found, wide / (1 + np.exp(-wide)) * up, rtol=1e-6, atol=1e-9)


def test_silu_of_extremes(ops: CpuOps) -> None:
    found = compute(ops, lambda g, u, rows: ops.swiglu(g, u), EXTREMES, np.ones_like(EXTREMES))
    wide = EXTREMES.astype(np.float64)
    expected = wide * np.exp(np.minimum(wide, 0)) / (1 + np.exp(-np.abs(wide)))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("approximation", ["none", "tanh"])
def test_gelu(ops: CpuOps, approximation: str) -> None:
    x = np.concatenate([random(1, 5003, scale=2), EXTREMES], axis=1)
    wide = x.astype(np.float64)
    if approximation == "none":
        expected = wide * 0.5 * np.vectorize(math.erfc)(-wide / math.sqrt(2))
    else:
        inner = np.clip(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3), -300, 300)
        expected = wide / (1 + np.exp(-2 * inner))
    found = compute(ops, lambda h, rows: ops.gelu(h, approximation), x)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("approximation", ["none", "tanh"])
def test_geglu_is_gelu_times_up(ops: CpuOps, approximation: str) -> None:
    gate, up = random(3, 71, scale=2), random(3, 71, seed=1)
    found = compute(ops, lambda g, u, rows: ops.geglu(g, u, approximation), gate, up)
    np.testing.assert_array_equal(found, compute(ops, lambda g, rows: ops.gelu(g, approximation), gate) * up)


def test_clamped_swiglu(ops: CpuOps) -> None:
    gate, up = random(3, 71, scale=4), random(3, 71, seed=1, scale=4)
    low, inner = np.minimum(gate.astype(np.float64), 2.5), np.clip(up.astype(np.float64), -2.5, 2.5)
    found = compute(ops, lambda g, u, rows: ops.clamped_swiglu(g, u, alpha=1.7, limit=2.5), gate, up)
    close(found, low / (1 + np.exp(-1.7 * low)) * (inner + 1))


@pytest.mark.parametrize(
    ("shape", "width"), [((1, 5), 5), ((3, 71), 71), ((2, 5000), 5000), ((3, 71), 1), ((1, 16), 1)]
)
def test_sigmoid_gate(ops: CpuOps, shape: tuple[int, int], width: int) -> None:
    x, gate = random(*shape), random(shape[0], width, seed=1, scale=30)
    found = compute(ops, lambda x, g, rows: ops.sigmoid_gate(x, g), x, gate)
    np.testing.assert_allclose(found, x / (1 + np.exp(-gate.astype(np.float64))), rtol=1e-6, atol=1e-9)


def test_scale_softcap_and_scaled_sums(ops: CpuOps) -> None:
    x, y = random(3, 71, scale=20), random(3, 71, seed=1)
    np.testing.assert_array_equal(compute(ops, lambda h, rows: ops.scale(h, 0.3), x), x * np.float32(0.3))
    factor, more = ops.vector(stored(np.float32([0.3]))), ops.vector(stored(np.float32([1, 2]), "more"))
    np.testing.assert_array_equal(compute(ops, lambda h, rows: ops.scale(h, factor), x), x * np.float32(0.3))
    with pytest.raises(ShapeError, match="values of more: expected 1, found 2"):
        compute(ops, lambda h, rows: ops.scale(h, more), x)
    close(compute(ops, lambda h, rows: ops.softcap(h, 7.5), x), 7.5 * np.tanh(x.astype(np.float64) / 7.5))
    close(compute(ops, lambda a, b, rows: ops.add(a, b, -1.25), x, y), x - 1.25 * y.astype(np.float64))


@pytest.mark.parametrize("shape", [(1, 3), (1, 40000), (2, 17000), (7, 19)])
def test_products_of_values(ops: CpuOps, shape: tuple[int, int]) -> None:
    x, y = random(*shape), random(*shape, seed=1)
    np.testing.assert_array_equal(compute(ops, lambda a, b, rows: ops.multiply(a, b), x, y), x * y)


@pytest.mark.parametrize("shape", [(1, 40000), (3, 71)])
def test_squared_relu(ops: CpuOps, shape: tuple[int, int]) -> None:
    x = random(*shape, scale=3)
    wanted = np.square(np.maximum(x, 0))
    assert (wanted == 0).any()
    np.testing.assert_array_equal(compute(ops, lambda h, rows: ops.squared_relu(h), x), wanted)


@pytest.mark.parametrize(("heads", "head_dim", "rotary"), [(3, 6, 6), (2, 10, 4), (1, 64, 64)])
def test_rope_turns_neighbours_where_pairs_are_interleaved(ops: CpuOps, heads: int, head_dim: int, rotary: int) -> None:
    """As half-split pairs of the same values in another order."""
    x, frequencies = random(5, heads * head_dim), (50.0 ** -(np.arange(rotary // 2) / rotary)).astype(np.float32)
    order = np.r_[np.arange(0, rotary, 2), np.arange(1, rotary, 2), np.arange(rotary, head_dim)]

    def turned(x: Floats, interleaved: bool) -> Floats:
        def op(h: object, rows: object) -> object:
            angles = ops.rope_angles(rows, lambda lengths: frequencies, 1.0)
            return ops.rope(h, angles, head_dim, interleaved=interleaved)

        return compute(ops, op, x, rows=rows_of(5, start=70)).reshape(5, heads, head_dim)

    halves = x.reshape(5, heads, head_dim)[..., order].reshape(5, -1)
    close(turned(x, True)[..., order], turned(halves, False))


def test_not_a_number_stays_one(ops: CpuOps) -> None:
    x = np.array([[1.0, np.nan, 3.0]], np.float32)
    for op in (
        lambda h, rows: ops.swiglu(h, h),
        lambda h, rows: ops.gelu(h, "none"),
        lambda h, rows: ops.gelu(h, "tanh"),
        lambda h, rows: ops.geglu(h, h, "tanh"),
        lambda h, rows: ops.clamped_swiglu(h, h, alpha=1.7, limit=7.0),
        lambda h, rows: ops.softcap(h, 30.0),
        lambda h, rows: ops.multiply(h, h),
        lambda h, rows: ops.squared_relu(h),
        lambda h, rows: ops.sigmoid_gate(h, h),
    ):
        assert np.isnan(compute(ops, op, x))[0].tolist() == [False, True, False]


@pytest.mark.parametrize("shape", [(1, 3), (2, 17000), (7, 19)])
def test_add(ops: CpuOps, shape: tuple[int, int]) -> None:
    x, y = random(*shape), random(*shape, seed=1)
    np.testing.assert_array_equal(compute(ops, lambda a, b, rows: ops.add(a, b), x, y), x + y)


def test_take_picks_rows(ops: CpuOps) -> None:
    x = random(7, 5)
    for logit_rows in ([6], [5, 0, 5], []):
        found = compute(ops, lambda h, rows: ops.take(h, rows.logit_rows), x, rows=rows_of(7, logit_rows=logit_rows))
        np.testing.assert_array_equal(found, x[logit_rows])


@pytest.mark.parametrize("n_rows", [1, 6])
def test_columns_are_picked_of_every_row(ops: CpuOps, n_rows: int) -> None:
    x = random(n_rows, 23)
    np.testing.assert_array_equal(compute(ops, lambda h, rows: ops.columns(h, 5, 7), x), x[:, 5:12])
    for first, width in ((-1, 2), (20, 4), (3, 0)):
        with pytest.raises(ShapeError, match="columns: expected within 23"):
            compute(ops, lambda h, rows, cut=(first, width): ops.columns(h, *cut), x)


def test_operands_that_do_not_fit_are_named(ops: CpuOps) -> None:
    x, weight, bias = (
        random(2, 6),
        ops.matrix(stored(random(4, 5), "a.weight")),
        ops.vector(stored(random(3), "a.bias")),
    )
    square = ops.matrix(stored(random(4, 6), "b.weight"))
    faults = {
        r"input of a\.weight: expected \(up to 2 rows, 5\), found \(up to 2 rows, 6\)": lambda h, rows: ops.linear(
            h, weight
        ),
        r"bias a\.bias: expected 4, found 3": lambda h, rows: ops.linear(h, square, bias),
        r"input of a\.bias: expected a multiple of 4": lambda h, rows: ops.rms_norm(
            h, ops.vector(stored(random(4), "a.bias")), 1e-5
        ),
        r"input of a\.bias: expected 3, found 6": lambda h, rows: ops.layer_norm(h, bias, bias, 1e-5),
        r"second input of add: expected \(up to 2 rows, 6\), found \(up to 2 rows, 4\)": lambda h, rows: ops.add(
            h, ops.linear(h, square)
        ),
        r"second input of swiglu": lambda h, rows: ops.swiglu(h, ops.linear(h, square)),
        r"second input of multiply": lambda h, rows: ops.multiply(h, ops.linear(h, square)),
        r"gates: expected \(up to 2 rows, 6\), found \(up to 2 rows, 4\)": lambda h, rows: ops.sigmoid_gate(
            h, ops.linear(h, square)
        ),
        r"gelu approximation: expected none or tanh, found sigmoid": lambda h, rows: ops.gelu(h, "sigmoid"),
        r"input of rope: expected a multiple of 4": lambda h, rows: ops.rope(h, h, 4),
        r"rotary dimensions: expected at most 3, found 6": lambda h, rows: ops.rope(h, h, 3),
    }
    for message, op in faults.items():
        with pytest.raises(ShapeError, match=message):
            compute(ops, op, x)
    with pytest.raises(ShapeError, match=r"v: expected a matrix \[out, in\], found \[5\]"):
        ops.matrix(stored(random(5), "v"))


def test_a_scale_that_is_not_finite_is_refused(ops: CpuOps) -> None:
    data = quantize(Q8_0, random(7, 64))
    data[5, :2] = np.array([np.nan], np.float16).view(np.uint8)
    with pytest.raises(PackageError, match=r"bad\.weight: row 5: expected finite scales"):
        ops.matrix(StoredTensor.from_bytes("bad.weight", Q8_0, (7, 64), data))
