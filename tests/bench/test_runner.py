"""Tests by llama-bench's names; what is timed is the workload, all of it, and again from the same place."""

from __future__ import annotations

import pytest

from nearlight.bench.runner import OwnRunner, Workload, alternate, hold, random_tokens, sweep
from nearlight.bench.steady import Repeater
from nearlight.engine.engine import Engine
from nearlight.errors import RequestError
from tests.bench.tiny import tiny


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


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny().engine(1)


@pytest.fixture
def shapes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], int]]:
    """The positions and the number of wanted rows of every step."""
    seen: list[tuple[list[int], int]] = []
    program = engine.program

    def spy(rows, watch=None):
        seen.append((rows.positions, len(rows.logit_rows)))
        return program(rows, watch)

    monkeypatch.setattr(engine, "_program", spy)
    return seen


def test_a_prompt_is_computed_in_chunks_from_its_depth(engine: Engine, shapes: list[tuple[list[int], int]]) -> None:
    own = OwnRunner(engine, "w4", chunk=4)
    own.prepare(Workload(n_prompt=7, n_depth=300))
    once = [([300, 301, 302, 303], 0), ([304, 305, 306], 1)]
    assert shapes == once  # the warm-up
    assert own.run() > 0
    own.close()
    assert shapes == 2 * once


def test_tokens_are_generated_one_by_one_from_the_depth(engine: Engine, shapes: list[tuple[list[int], int]]) -> None:
    own = OwnRunner(engine, "w4")
    own.prepare(Workload(n_gen=3, n_depth=5))
    own.run()
    own.close()
    assert shapes == 2 * [([5], 1), ([6], 1), ([7], 1)]


def test_closing_gives_the_cache_back(engine: Engine) -> None:
    own = OwnRunner(engine, "w4")
    own.prepare(Workload(n_gen=1, n_depth=600))
    assert engine.cache.n_bytes > 0
    own.close()
    assert engine.cache.n_bytes == 0


def test_holding_more_than_the_context_is_refused(engine: Engine) -> None:
    sequence = engine.open()
    with pytest.raises(RequestError, match="longer than the context"):
        hold(engine, sequence, 1025)
    engine.close(sequence)


def test_tokens_are_of_the_vocabulary_and_repeatable() -> None:
    tokens = random_tokens(500, 7)
    assert set(tokens) == set(range(7))
    assert tokens[:9] == random_tokens(9, 7)


def test_runners_take_turns() -> None:
    log: list[str] = []

    class Scripted:
        weights = "w4"

        def __init__(self, name: str) -> None:
            self.name = name

        def prepare(self, workload: Workload) -> None:
            log.append(f"{self.name} prepares {workload.name}")

        def run(self) -> int:
            log.append(self.name)
            return len(log)

        def close(self) -> None: ...

    def probe() -> float:
        log.append("probe")
        return 1e9

    repeater = Repeater(probe, lambda: 0.0)
    found = alternate([Scripted("a"), Scripted("b")], Workload(n_gen=2), 3, repeater)
    assert log == ["a prepares tg2", "b prepares tg2", "probe", *["a", "b", "probe"] * 3]
    assert found.values == [{"a": 4, "b": 5}, {"a": 7, "b": 8}, {"a": 10, "b": 11}]
