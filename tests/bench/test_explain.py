"""Accounts: all of the time, each part against its own limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nearlight.bench.explain import AROUND, WAITING, explain
from nearlight.bench.profile import Profile, Timed
from nearlight.kernels.count import OpCost
from nearlight.limits.cache import Cache
from nearlight.limits.hardware import Hardware

MACHINE = Hardware("slow", "cpu", 1e9, 100.0, {"fp32": 1000.0}, "made up", "measured")
UP = OpCost("up", "linear", weight_bytes=300, operations={"fp32": 500})  # limit: 3 s of reading
HEAD = OpCost("head", "linear", weight_bytes=100, operations={"fp32": 2000})  # limit: 2 s of computing
PROFILE = Profile(
    [
        Timed("quantize", None, 1.0),
        Timed("up_proj", UP, 4.0),
        Timed("up_proj", UP, 6.0),
        Timed("head", HEAD, 2.0),
        Timed("rms_norm", OpCost("norm", "rms_norm"), 0.5),
    ],
    waiting_s=4.0,
    around_s=2.5,
)


def test_all_of_the_time_is_accounted_for() -> None:
    found = explain("a step", 1, PROFILE, MACHINE)
    assert found.step_s == 20.0
    assert sum(account.seconds for account in found.accounts) == 20.0
    assert sum(account.share for account in found.accounts) == pytest.approx(1)
    assert [account.kind for account in found.accounts] == [
        "up_proj",
        WAITING,
        AROUND,
        "head",
        "quantize activations",
        "norms",
    ]


def test_each_kind_has_its_own_limit_and_gain() -> None:
    accounts = {account.kind: account for account in explain("a step", 1, PROFILE, MACHINE).accounts}
    up, head, waiting = accounts["up_proj"], accounts["head"], accounts[WAITING]
    assert (up.calls, up.n_bytes, up.operations, up.limit_s) == (2, 600, 1000, 6.0)
    assert (up.bytes_per_s, up.flops_per_s, up.share_of_limit) == (60.0, 100.0, 0.6)
    assert up.gain == pytest.approx(20 / 16)
    assert (head.share_of_limit, head.gain) == (1.0, 1.0)
    assert (waiting.share_of_limit, waiting.gain) == (None, pytest.approx(20 / 16))


def test_the_limit_of_the_step_is_that_of_all_ops_together() -> None:
    found = explain("a step", 5, PROFILE, MACHINE, sampling_s=0.25)
    assert found.limit_s == 7.0  # 700 bytes read; 3 s of computing beside it
    assert found.as_json()["sampling_s"] == 0.25
    assert found.as_json()["accounts"][0]["kind"] == "up_proj"


def test_what_is_faster_than_its_limit_gains_nothing() -> None:
    (account, *_) = explain("a step", 1, Profile([Timed("up_proj", UP, 1.0)], 0.0, 0.0), MACHINE).accounts
    assert account.share_of_limit == 3.0
    assert account.gain == 1.0


@pytest.mark.parametrize(("cache_bytes", "limit_s"), [(700, 1.5), (300, 5.41), (100, 6.0)])
def test_a_part_stays_in_the_cache_only_if_the_step_does(cache_bytes: float, limit_s: float) -> None:
    # The step reads 700 bytes: all of them are in a cache of 700, a few in one of 300, none in one of 100.
    machine = replace(MACHINE, cache=Cache(cache_bytes, 400.0))
    (up, *_) = explain("a step", 1, PROFILE, machine).accounts
    assert (up.kind, up.limit_s) == ("up_proj", pytest.approx(limit_s, abs=0.01))
