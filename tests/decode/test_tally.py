"""Counting tokens, against a plain dictionary."""

from __future__ import annotations

from collections import Counter

import numpy as np

from nearlight.decode.tally import Tally

VOCAB = 31


def counted(tally: Tally) -> dict[int, int]:
    assert len(set(tally.ids.tolist())) == len(tally.ids) == len(tally.counts)
    return dict(zip(tally.ids.tolist(), tally.counts.tolist(), strict=True))


def test_tokens_are_counted_one_by_one_and_many_at_once() -> None:
    tally = Tally(VOCAB)
    assert counted(tally) == {}
    tokens = np.random.default_rng(0).integers(0, VOCAB, 23)
    tally.add_all(tokens[:7])
    for token in tokens[7:17].tolist():
        tally.add(token)
    tally.add_all(tokens[17:])
    tally.add_all(np.empty(0, np.intp))
    assert counted(tally) == dict(Counter(tokens.tolist()))


def test_a_state_is_not_changed_by_what_follows_and_can_be_gone_back_to() -> None:
    tally = Tally(VOCAB)
    for token in (5, 30, 5, 0):
        tally.add(token)
    state = tally.state()
    for token in (5, 7, 7):
        tally.add(token)
    after = tally.state()
    tally.restore(state)
    assert counted(tally) == {5: 2, 30: 1, 0: 1}
    tally.add(7)
    tally.add(30)
    assert counted(tally) == {5: 2, 30: 2, 0: 1, 7: 1}
    tally.restore(after)
    assert counted(tally) == {5: 3, 30: 1, 0: 1, 7: 2}
    tally.restore(state)
    assert counted(tally) == {5: 2, 30: 1, 0: 1}
