"""Tells the states of a machine apart, by the read bandwidth that was probed at several moments.

The host of a virtual machine may switch its memory bandwidth between states that are far apart, and stay in each for
minutes. Within a state probes agree within some per cent, so those that agree are of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

TOLERANCE = 0.06
"""Figures that differ by no more than this part are of one state: each repeats within half of it."""


def same_state(one: float, other: float) -> bool:
    """Whether two figures are of one state."""
    return abs(one - other) <= TOLERANCE * max(one, other)


def states(figures: Iterable[float]) -> list[list[float]]:
    """Sort figures into groups that belong together, the largest group first and of equal ones the fastest.

    A group begins at its highest figure, since what disturbs a probe makes it slower and never faster.
    """
    groups: list[list[float]] = []
    for figure in sorted(figures, reverse=True):
        if groups and same_state(figure, groups[-1][0]):
            groups[-1].append(figure)
        else:
            groups.append([figure])
    return sorted(groups, key=lambda group: (-len(group), -group[0]))


def distinct_states(figures: Sequence[float]) -> list[float]:
    """Return the states that were seen at least twice, the one that held first; the only one there is counts anyway.

    A state's figure is its highest. What was seen once among others is taken for a disturbance.
    """
    first, *others = states(figures)
    return [first[0], *(group[0] for group in others if len(group) > 1)]
