"""Keeps labels that stand one above the other apart, each as near to its line as it can be."""

from __future__ import annotations

from collections.abc import Sequence


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places apart until any two differ by `gap` at least, in the same order, as little as possible.

    Neighbours that are too near form a block around their common middle; a block that runs into the next takes it in.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    blocks: list[tuple[float, list[int]]] = []  # the middle, and who is in it from low to high
    for i in order:
        middle, members = places[i], [i]
        while blocks and blocks[-1][0] + gap * (len(blocks[-1][1]) + len(members)) / 2 > middle:
            before_middle, before = blocks.pop()
            middle = (before_middle * len(before) + middle * len(members)) / (len(before) + len(members))
            members = before + members
        blocks.append((middle, members))
    moved = list(places)
    for middle, members in blocks:
        for rank, i in enumerate(members):
            moved[i] = middle + gap * (rank - (len(members) - 1) / 2)
    return moved
