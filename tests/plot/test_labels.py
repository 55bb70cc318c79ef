"""Labels that stand one above the other are moved apart, and no further than that."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearlight.plot.labels import spread


def test_far_labels_stay():
    assert spread([30.0, 0.0, 14.0], 12.0) == [30.0, 0.0, 14.0]


def test_near_labels_part_around_their_middle():
    assert spread([10.0, 12.0], 12.0) == [5.0, 17.0]
    assert spread([7.0, 7.0, 7.0], 10.0) == [-3.0, 7.0, 17.0]


def test_a_block_takes_its_neighbour_in():
    assert spread([0.0, 1.0, 8.0, 40.0], 10.0) == pytest.approx([-7.0, 3.0, 13.0, 40.0])


@given(st.lists(st.floats(-1e3, 1e3), max_size=9))
def test_order_and_distance_hold(places: list[float]):
    moved = spread(places, 12.5)
    order = sorted(range(len(places)), key=lambda i: places[i])
    assert all(moved[b] - moved[a] > 12.5 - 1e-6 for a, b in pairwise(order))
    assert sum(moved) == pytest.approx(sum(places), abs=1e-6)
