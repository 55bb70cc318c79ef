"""Mixtures of experts against the reference kernels: how rows are sent, and what comes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nearlight.dtypes import BF16, F32, Q4_0, Q6_K, Q8_0, Format
from nearlight.errors import ShapeError
from nearlight.formats import dequantize, quantize
from nearlight.kernels.cpu import CpuOps
from nearlight.kernels.ops import Routing, Rows
from nearlight.kernels.reference import ReferenceOps, TorchWeight
from nearlight.package.tensors import StoredTensor
from tests.kernels.cpu_steps import Floats, compute, random, rows_of, stored

E, M, N = 12, 70, 45
ROUTINGS = {
    "softmax": Routing(3, normalize=False),
    "normalized": Routing(3, normalize=True, scale=2.5),
    "all": Routing(E, normalize=True),
    "one": Routing(1, normalize=False),
    "sigmoid": Routing(4, normalize=True, scoring="sigmoid"),
    "groups": Routing(4, normalize=True, scoring="sigmoid", scale=1.5, n_groups=4, n_chosen_groups=2),
}


def on_both(forward: Any, n_rows: int, threads: int = 2, seed: int = 0) -> tuple[Floats, Floats]:
    """Run `forward(ops, x, scores, vectors, weights)` on either kernel set; return what each gave, the cpu's first."""
    x, scores = random(n_rows, M, seed=seed), random(n_rows, E, seed=seed + 1, scale=2)
    vectors = {"bias": random(E, seed=2), "scale": random(E, seed=3), "biases": random(E * N, seed=4)}
    weights = [random(N, M, seed=10 + e, scale=0.1) for e in range(E)]
    cpu, reference = CpuOps(threads), ReferenceOps()
    packed = [cpu.matrix(stored(w, f"w[{e}]")) for e, w in enumerate(weights)]
    named = {name: cpu.vector(stored(v, name)) for name, v in vectors.items()}
    ours = compute(cpu, lambda x, s, rows: forward(cpu, x, s, named, packed), x, scores)
    tensors = {name: torch.from_numpy(v) for name, v in vectors.items()}
    torch_weights = [TorchWeight("w", torch.from_numpy(w)) for w in weights]
    theirs = forward(reference, torch.from_numpy(x), torch.from_numpy(scores), tensors, torch_weights).numpy()
    return ours, theirs


@pytest.mark.parametrize("n_rows", [1, 2, 7, 130])
@pytest.mark.parametrize("name", ROUTINGS)
def test_rows_are_sent_and_weighed_as_the_routing_says(name: str, n_rows: int) -> None:
    def forward(ops: Any, x: Any, scores: Any, vectors: Any, weights: Any) -> Any:
        bias = vectors["bias"] if ROUTINGS[name].scoring == "sigmoid" else None
        routes = ops.route(scores, ROUTINGS[name], bias)
        return ops.combine(ops.expert_linear(x, weights, routes), routes)

    ours, theirs = on_both(forward, n_rows)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("threads", [1, 3])
def test_pairs_go_through_a_second_product_with_biases_and_scales(threads: int) -> None:
    """As in a model: out of the rows' width, and back into it from the pairs'."""
    back = [random(M, N, seed=50 + e, scale=0.1) for e in range(E)]

    def forward(ops: Any, x: Any, scores: Any, vectors: Any, weights: Any) -> Any:
        routes = ops.route(scores, ROUTINGS["normalized"], expert_scale=vectors["scale"])
        hidden = ops.swiglu(
            ops.expert_linear(x, weights, routes), ops.expert_linear(x, weights, routes, vectors["biases"])
        )
        if isinstance(ops, CpuOps):
            down = [ops.matrix(stored(w, f"down[{e}]")) for e, w in enumerate(back)]
        else:
            down = [TorchWeight("down", torch.from_numpy(w)) for w in back]
        return ops.add(x, ops.combine(ops.expert_linear(hidden, down, routes), routes))

    ours, theirs = on_both(forward, 23, threads)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("n_rows", [1, 3, 40])
@pytest.mark.parametrize("name", ["one", "sigmoid"])
def test_what_experts_compute_with_may_be_weighed_instead_of_what_they_give(name: str, n_rows: int) -> None:
    def forward(ops: Any, x: Any, scores: Any, vectors: Any, weights: Any) -> Any:
        routes = ops.route(scores, ROUTINGS[name])
        given = ops.weigh(ops.expert_linear(x, weights, routes), routes)
        return ops.combine(ops.swiglu(given, given), routes, weighted=False)

    ours, theirs = on_both(forward, n_rows)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def test_only_pairs_are_weighed() -> None:
    ops = CpuOps(1)
    with pytest.raises(ShapeError, match="pairs to weigh: expected up to 8 rows, found up to 2"):
        compute(ops, lambda x, rows: ops.weigh(x, ops.route(x, ROUTINGS["sigmoid"])), random(2, E))


@pytest.mark.parametrize("format", [F32, BF16, Q8_0, Q4_0, Q6_K], ids=str)
def test_bits_do_not_depend_on_company(format: Format) -> None:
    """Each row alone, all together, and with other threads; in a step smaller than its tape has room for."""
    x, scores, width = random(37, 256), random(37, E, seed=1), 33
    values = random(E * width, 256, seed=2, scale=0.1)
    bits = values.view(np.uint8) if format is F32 else quantize(format, values)

    def run(threads: int, steps: list[range]) -> Floats:
        ops = CpuOps(threads)
        tensor = StoredTensor.from_bytes("w", format, (E * width, 256), bits)
        weights = [ops.matrix(tensor.part(e * width, (e + 1) * width)) for e in range(E)]
        tables = [ops.matrix(stored(table)) for table in (x, scores)]

        def forward(rows: Rows) -> Any:
            inputs, ranks = (ops.embed(table, rows.tokens) for table in tables)
            routes = ops.route(ranks, ROUTINGS["softmax"])
            return ops.take(ops.combine(ops.expert_linear(inputs, weights, routes), routes), rows.logit_rows)

        program = ops.program(forward)
        return np.concatenate([program(rows_of(len(step), tokens=list(step))) for step in steps])

    together = run(1, [range(37)])
    np.testing.assert_array_equal(run(2, [range(i, i + 1) for i in range(37)]), together)
    np.testing.assert_array_equal(run(3, [range(21), range(21, 37)]), together)
    exact = dequantize(format, bits, 256).reshape(E, width, 256)
    chosen = scores.argmax(1)
    assert np.corrcoef(together[0], exact[chosen[0]] @ x[0])[0, 1] > 0.5  # of what it is made of, the largest part


def test_scores_that_are_no_numbers_choose_some_expert_and_are_seen_in_the_result() -> None:
    ops, scores = CpuOps(2), random(5, E)
    scores[2], scores[3, 4], scores[4] = np.nan, np.inf, -np.inf
    weights = [ops.matrix(stored(random(N, M, seed=e))) for e in range(E)]

    def forward(x: Any, ranks: Any, rows: Any) -> Any:
        routes = ops.route(ranks, ROUTINGS["groups"])
        return ops.combine(ops.expert_linear(x, weights, routes), routes)

    found = compute(ops, forward, random(5, M), scores)
    assert np.isfinite(found[:2]).all()
    assert np.isnan(found[2]).all()


@pytest.mark.parametrize(
    ("routing", "message"),
    [
        (Routing(0, normalize=True), r"chosen experts: expected 1 … 12, found 0"),
        (Routing(13, normalize=True), r"chosen experts: expected 1 … 12, found 13"),
        (replace(ROUTINGS["groups"], n_groups=5), "experts: expected a multiple of 5"),
        (replace(ROUTINGS["groups"], n_chosen=7), "chosen groups of experts"),
        (replace(ROUTINGS["groups"], n_chosen_groups=5), "chosen groups of experts"),
    ],
)
def test_routings_that_cannot_be_are_refused(routing: Routing, message: str) -> None:
    ops = CpuOps(1)
    with pytest.raises(ShapeError, match=message):
        compute(ops, lambda scores, rows: ops.route(scores, routing), random(2, E))


def test_experts_that_are_unlike_are_refused() -> None:
    ops = CpuOps(1)
    alike, wider = ops.matrix(stored(random(N, M))), ops.matrix(stored(random(N + 1, M)))

    def forward(weights: list[Any], bias: Any = None) -> Any:
        def inner(x: Any, scores: Any, rows: Any) -> Any:
            routes = ops.route(scores, ROUTINGS["softmax"])
            return ops.combine(ops.expert_linear(x, weights, routes, bias), routes)

        return compute(ops, inner, random(3, M), random(3, E))

    with pytest.raises(ShapeError, match="one shape and format"):
        forward([alike] * 11 + [wider])
    with pytest.raises(ShapeError, match="experts: expected 12, found 11"):
        forward([alike] * 11)
    with pytest.raises(ShapeError, match="biases b: expected 540, found 45"):
        forward([alike] * 12, ops.vector(stored(random(N), "b")))


def test_weights_are_the_softmax_of_the_chosen() -> None:
    """The reference by itself: the two are compared with each other everywhere else."""
    routes = ReferenceOps().route(torch.tensor([[0.0, 2.0, 1.0]]), Routing(2, normalize=True))
    assert routes.chosen.tolist() == [[1, 2]]
    np.testing.assert_allclose(routes.weights, [[np.e / (1 + np.e), 1 / (1 + np.e)]], rtol=1e-6)
