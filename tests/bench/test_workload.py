"""Tests by llama-bench's names."""

from __future__ import annotations

import pytest

from nearlight.bench.workload import Workload, sweep
from nearlight.errors import RequestError


@pytest.mark.parametrize(
    ("workload", "name", "n_tokens", "context"),
    [
        (Workload(n_prompt=512), "pp512", 512, 512),
        (Workload(n_gen=64), "tg64", 64, 64),
        (Workload(n_gen=64, n_depth=4096), "tg64 @ d4096", 64, 4160),
        (Workload(n_prompt=7, n_depth=3), "pp7 @ d3", 7, 10),
    ],
)
def test_names_are_llama_benchs(workload: Workload, name: str, n_tokens: int, context: int) -> None:
    assert (workload.name, workload.n_tokens, workload.context) == (name, n_tokens, context)


def test_lists_are_combined_depth_by_depth() -> None:
    names = [workload.name for workload in sweep([64, 128], [16, 0], [0, 256])]
    assert names == ["pp64", "pp128", "tg16", "pp64 @ d256", "pp128 @ d256", "tg16 @ d256"]


def test_nothing_to_measure_is_said() -> None:
    with pytest.raises(RequestError, match="nothing to measure"):
        sweep([0], [0], [0, 1])


@pytest.mark.parametrize("numbers", [(0, 0, 5), (3, 2, 0), (-1, 0, 0), (4, 0, -1)])
def test_senseless_tests_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(RequestError, match="a test"):
        Workload(*numbers)
