"""States of the machine, told apart by probes."""

from __future__ import annotations

import pytest

from nearlight.machine.bandwidth_states import distinct_states, same_state, states


@pytest.mark.parametrize(("one", "other", "same"), [(100.0, 94.0, True), (94.0, 100.0, True), (100.0, 93.9, False)])
def test_a_state_is_as_wide_as_two_probes_may_differ(one: float, other: float, same: bool) -> None:
    assert same_state(one, other) == same


def test_figures_are_grouped_the_largest_group_first() -> None:
    assert states([36.0, 63.0, 35.5, 62.0, 35.0]) == [[36.0, 35.5, 35.0], [63.0, 62.0]]
    assert states([36.0, 63.0]) == [[63.0], [36.0]]
    assert states([7.0]) == [[7.0]]


def test_a_state_that_was_seen_once_is_a_disturbance() -> None:
    assert distinct_states([62.0, 36.0, 63.0, 61.0]) == [63.0]
    assert distinct_states([62.0, 36.0, 63.0, 35.0, 61.0]) == [63.0, 36.0]
    assert distinct_states([5.0]) == [5.0]
