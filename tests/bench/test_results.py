"""Rows: the arithmetic between measured, predicted and possible, and the keys that programs rely on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nearlight.bench.model import Setting
from nearlight.bench.prediction import Prediction
from nearlight.bench.results import Row
from nearlight.bench.runner import Workload

SETTING = Setting("M", "qwen3", "w4", "f16", 1000, 5_000_000, 2, "A processor", "avx512", 1_000_000)
ADJUSTED = Prediction(
    6e6, 2e6, 3e9, limit_s=0.02, predicted_s=0.04, bound="bandwidth", label="calibrated", read_bytes_per_s=4e8
)
PREDICTION = replace(ADJUSTED, limit_s=0.025, predicted_s=0.05, read_bytes_per_s=3.2e8)
ROW = Row("nearlight", SETTING, Workload(n_gen=4, n_depth=9), None, [40_000_000, 60_000_000], PREDICTION, ADJUSTED)

CONTRACT = {
    *("engine", "model", "architecture", "weights", "kv", "test", "n_prompt", "n_gen", "n_depth", "n_threads"),
    *("avg_ts", "stddev_ts", "samples_ts", "avg_ns", "bytes", "flops", "limit_ts", "share_of_limit"),
    *("predicted_ts", "ratio", "bound", "label", "adjusted_ts", "limit_of"),
}


def test_speeds_are_of_the_samples() -> None:
    assert ROW.samples_ts == pytest.approx([100, 66.666667])
    assert ROW.avg_ts == ROW.median_ts == pytest.approx(83.333333)
    assert ROW.stddev_ts == pytest.approx(23.570226)
    assert replace(ROW, samples_ns=[7]).stddev_ts == 0


def test_shares_and_ratios_are_of_speeds() -> None:
    assert ROW.limit_ts == 200
    assert ROW.share_of_limit == pytest.approx(0.4166667)
    assert ROW.bytes_per_s == pytest.approx(8e6 / 0.05)
    assert ROW.flops_per_s == pytest.approx(3e9 / 0.05)


def test_the_prediction_is_told_as_it_was_stored_and_beside_it_what_the_state_makes_of_it() -> None:
    assert (ROW.predicted_ts, ROW.adjusted_ts) == (80, 100)
    assert ROW.ratio == pytest.approx(83.333333 / 80)
    told = ROW.as_json()
    assert (told["predicted_ts"], told["adjusted_ts"]) == (80, 100)
    assert (told["predicted_read_bytes_per_s"], told["read_bytes_per_s"]) == (3.2e8, 4e8)


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
    assert {peer.limit_ts, peer.predicted_ts, peer.adjusted_ts, peer.share_of_limit, peer.ratio} == {None}
    assert peer.bytes_per_s is peer.as_json()["limit_of"] is None
    assert peer.as_json()["label"] == "unsupported"


def test_a_row_of_no_one_state_says_so_and_its_peers_do_too() -> None:
    row = replace(ROW, unsteady="it changed", discarded=["a flip"])
    for told in (row.as_json(), row.beside("llama.cpp", "q4_0", [1000]).as_json()):
        assert (told["unsteady"], told["unsteady_because"], told["discarded"]) == (True, "it changed", ["a flip"])
    fast = replace(row, samples_ns=[10_000_000])
    assert "the machine changed while it was measured" in str(fast.why_over_limit)


def test_a_share_over_the_whole_is_explained() -> None:
    fast = replace(ROW, samples_ns=[10_000_000])
    assert ROW.why_over_limit is None
    assert replace(ROW, samples_ns=[20_000_000]).why_over_limit is None
    assert fast.share_of_limit == pytest.approx(2)
    assert "than in the probes before and after it" in str(fast.why_over_limit)
    computing = replace(fast, adjusted=replace(ADJUSTED, bound="compute"))
    assert "while something slowed the machine" in str(computing.why_over_limit)
