"""What is kept was measured in one state of the machine, however it changes; time and machine are made up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nearlight.bench.steady import MOST_TRIES, Repeater, waiting_seconds

FAST, SLOW = 63e9, 36e9


class Machine:
    """Takes a second for every piece of work, and is in the next state whenever it is probed."""

    def __init__(self, states: Iterator[float], waits: dict[int, float] | None = None) -> None:
        self.states, self.waits = states, waits or {}
        self.now, self.waited, self.n_works, self.n_probes = 0.0, 0.0, 0, 0

    def probe(self) -> float:
        self.n_probes += 1
        return next(self.states)

    def work(self) -> int:
        self.now += 1.0
        self.waited += self.waits.get(self.n_works, 0.0)
        self.n_works += 1
        return self.n_works - 1

    def repeater(self) -> Repeater:
        return Repeater(self.probe, lambda: self.waited, lambda: self.now)


def forever(*states: float) -> Iterator[float]:
    yield from states
    while True:
        yield states[-1]


def test_in_a_quiet_machine_nothing_is_repeated() -> None:
    machine = Machine(iter([60e9, 61e9, 59.5e9, 60e9]))
    found = machine.repeater().repeat(machine.work, 3)
    assert found.values == [0, 1, 2]
    assert found.read_bytes_per_s == pytest.approx(60.25e9)
    assert (found.discarded, found.unsteady) == ([], None)


def test_a_repetition_under_which_the_machine_changed_is_done_again() -> None:
    machine = Machine(forever(SLOW, SLOW, FAST, FAST))
    found = machine.repeater().repeat(machine.work, 2)
    # 0 was slow, under 1 it changed, and then there are two of one state.
    assert found.values == [2, 3]
    assert found.read_bytes_per_s == FAST
    assert found.unsteady is None
    assert sorted(found.discarded) == [
        "reading went at 36.0 GB/s before and 63.0 GB/s after",
        "reading went at 36.0 GB/s, and at 63.0 GB/s for the others",
    ]


def test_the_state_that_held_for_most_is_kept() -> None:
    machine = Machine(iter([SLOW, SLOW, SLOW, FAST, FAST, FAST, SLOW, SLOW, SLOW]))
    found = machine.repeater().repeat(machine.work, 3)
    assert found.values == [0, 1, 5]
    assert found.read_bytes_per_s == SLOW
    assert found.unsteady is None


def test_waiting_for_others_disturbs_too() -> None:
    machine = Machine(forever(FAST), waits={0: 0.029, 1: 0.12})
    found = machine.repeater().repeat(machine.work, 2)
    assert found.values == [0, 2]
    assert found.discarded == ["other programs or machines took 12% of a processor"]


def test_a_machine_that_never_settles_gives_what_there_is_and_says_so() -> None:
    machine = Machine(iter([SLOW, FAST] * 20))
    found = machine.repeater().repeat(machine.work, 2)
    assert machine.n_works == MOST_TRIES * 2
    assert len(found.values) == 2
    assert len(found.discarded) == MOST_TRIES * 2 - 2
    assert found.unsteady is not None
    assert found.unsteady.startswith("2 of 2 repetitions disturbed: reading went at 36.0 GB/s before")


def test_quiet_repetitions_in_too_many_states_are_told_apart() -> None:
    one, two, three = 20e9, 30e9, 45e9
    machine = Machine(iter([one, one, two, two, two, three, three, three, one]))
    found = machine.repeater().repeat(machine.work, 2)
    assert len(found.values) == 2
    assert found.unsteady is not None
    assert found.unsteady.startswith("the machine changed between repetitions: reading went at ")


def test_probes_are_shared_between_neighbours_but_not_after_a_disturbance() -> None:
    machine = Machine(forever(FAST))
    machine.repeater().repeat(machine.work, 4)
    assert machine.n_probes == 5
    disturbed = Machine(forever(SLOW, FAST))
    disturbed.repeater().repeat(disturbed.work, 1)
    assert (disturbed.n_works, disturbed.n_probes) == (2, 4)


def test_waiting_is_read_where_the_system_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", {"SC_CLK_TCK": 50}.__getitem__)
    for task, line in ((7, "123 2000000000 5"), (8, "99 500000000 6"), (9, "?")):
        directory = tmp_path / f"proc/self/task/{task}"
        directory.mkdir(parents=True)
        (directory / "schedstat").write_text(line + "\n")
    assert waiting_seconds(tmp_path) == pytest.approx(2.5)
    (tmp_path / "proc/stat").write_text("cpu  1 2 3 4 5 6 7 250 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n")
    assert waiting_seconds(tmp_path) == pytest.approx(2.5 + 250 / 50)
    assert waiting_seconds(tmp_path / "missing") == 0.0
