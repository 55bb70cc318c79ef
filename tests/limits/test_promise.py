"""Users under a promise, by hand: weights take 100 ms to read, a cached token 10 µs, a row a millisecond to compute."""

from __future__ import annotations

import pytest

from nearlight.errors import RequestError
from nearlight.limits.promise import Load, Promise, users_under
from tests.limits.machines import MACHINE, LinearCosts

COSTS = LinearCosts(token_operations=1e9)
LOAD = Load(n_prompt=200, n_answer=400)  # a prompt takes 200 ms, a mean context is 400 tokens


def test_promise_is_read():
    assert Promise.parse("ttft=2s,tpot=50ms") == Promise(2.0, 0.05)
    assert Promise.parse("tpot=0.5s, ttft=300ms") == Promise(0.3, 0.5)


@pytest.mark.parametrize("text", ["", "ttft=2s", "ttft=2,tpot=3", "ttft=0s,tpot=1s", "ttft=2s,tpot=-1s"])
def test_senseless_promise_is_refused(text):
    with pytest.raises(RequestError, match="sla: expected like ttft=2s,tpot=50ms"):
        Promise.parse(text)


def test_time_per_token_stops_users():
    users = users_under(Promise(10, 0.15), LOAD, COSTS, MACHINE, room_bytes=1e12)
    # a step of B rows: 100 ms + B * 4 ms of cache; and B prompts of 200 ms for every 400 tokens
    assert users.count == int((0.15 - 0.1) / (0.004 + 0.2 / 400))
    assert users.stopped_by == "tpot"
    assert users.tpot_s == pytest.approx(0.1 + users.count * 0.0045)
    assert users.tok_s == pytest.approx(users.count / users.tpot_s)


def test_time_to_the_first_token_stops_users():
    users = users_under(Promise(0.33, 10), LOAD, COSTS, MACHINE, room_bytes=1e12)
    assert (users.count, users.stopped_by) == (7, "ttft")  # 200 ms + 100 ms + 7 * 4 ms


def test_memory_stops_users():
    users = users_under(Promise(10, 10), LOAD, COSTS, MACHINE, room_bytes=3.1 * 600e6)
    assert (users.count, users.stopped_by) == (3, "memory")


def test_promise_that_nobody_can_be_given():
    users = users_under(Promise(10, 0.01), LOAD, COSTS, MACHINE, room_bytes=1e12)
    assert (users.count, users.stopped_by, users.tok_s) == (0, "tpot", 0)
