"""Rows: the arithmetic between measured, predicted and possible, and the keys that programs rely on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nearlight.bench.results import Expectation, Row, Setting
from nearlight.bench.workload import Workload

SETTING = Setting("M", "qwen3", "w4", "f16", 1000, 5_000_000, 2, "A processor", "avx512", 1_000_000)
EXPECTATION = Expectation(
    6e6, 2e6, 3e9, limit_s=0.02, predicted_s=0.04, bound="bandwidth", label="calibrated", read_bytes_per_s=4e8
)
ROW = Row("nearlight", SETTING, Workload(n_gen=4, n_depth=9), None, [40_000_000, 60_000_000], EXPECTATION)

CONTRACT = {
    *("engine", "model", "architecture", "weights", "kv", "test", "n_prompt", "n_gen", "n_depth", "n_threads"),
    *("avg_ts", "stddev_ts", "samples_ts", "avg_ns", "bytes", "flops", "limit_ts", "share_of_limit"),
    *("predicted_ts", "ratio", "bound", "label"),
}


def test_speeds_are_of_the_samples() -> None:
    assert ROW.samples_ts == pytest.approx([100, 66.666667])
    assert ROW.avg_ts == ROW.median_ts == pytest.approx(83.333333)
    assert ROW.stddev_ts == pytest.approx(23.570226)
    assert replace(ROW, samples_ns=[7]).stddev_ts == 0


def test_shares_and_ratios_are_of_speeds() -> None:
    assert (ROW.limit_ts, ROW.predicted_ts) == (200, 100)
    assert ROW.share_of_limit == pytest.approx(0.4166667)
    assert ROW.ratio == pytest.approx(0.8333333)
    assert ROW.bytes_per_s == pytest.approx(8e6 / 0.05)
    assert ROW.flops_per_s == pytest.approx(3e9 / 0.05)


def test_json_has_the_keys_of_the_contract() -> None:
    row = ROW.as_json()
    assert row.keys() >= CONTRACT
    assert row["test"] == "tg4 @ d9"
    assert row["bytes"] == {"weights": 6e6, "kv": 2e6, "total": 8e6}
    assert row["flops"] == 3e9
    assert row["avg_ns"] == 50_000_000
    assert (row["n_prompt"], row["n_gen"], row["n_depth"], row["n_threads"]) == (0, 4, 9, 2)
    assert (row["read_bytes_per_s"], row["unsteady"], row["unsteady_because"]) == (4e8, False, None)
    assert row["includes_sampling"] is row["includes_tokenization"] is False


def test_a_peers_row_has_speeds_only() -> None:
    peer = ROW.beside("llama.cpp", "q4_0", [100_000_000])
    assert (peer.avg_ts, peer.speedup) == (40, pytest.approx(83.333333 / 40))
    assert peer.setting.weights == "q4_0"
    assert {peer.limit_ts, peer.predicted_ts, peer.share_of_limit, peer.ratio, peer.bytes_per_s} == {None}
    assert peer.as_json()["label"] == "unsupported"


def test_a_row_of_no_one_state_says_so_and_its_peers_do_too() -> None:
    row = replace(ROW, unsteady="it changed", discarded=["a flip"])
    for told in (row.as_json(), row.beside("llama.cpp", "q4_0", [1000]).as_json()):
        assert (told["unsteady"], told["unsteady_because"], told["discarded"]) == (True, "it changed", ["a flip"])
    fast = replace(row, samples_ns=[10_000_000])
    assert "the machine changed while it was measured" in str(fast.explanation)


def test_a_share_over_the_whole_is_explained() -> None:
    fast = replace(ROW, samples_ns=[10_000_000])
    assert ROW.explanation is None
    assert replace(ROW, samples_ns=[20_000_000]).explanation is None
    assert fast.share_of_limit == pytest.approx(2)
    assert "than in the probes before and after it" in str(fast.explanation)
    in_cache = replace(fast, setting=replace(SETTING, last_cache_bytes=4_000_000))
    assert "stays in the processor's cache" in str(in_cache.explanation)
    computing = replace(in_cache, expectation=replace(EXPECTATION, bound="compute"))
    assert "while something slowed the machine" in str(computing.explanation)
