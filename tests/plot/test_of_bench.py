"""What a benchmark's picture shows is what its rows say."""

from __future__ import annotations

from typing import Any

import pytest

from nearlight.errors import RequestError
from nearlight.plot import Panel, Series, bench_figure


def row(n_prompt: int = 0, n_gen: int = 0, n_depth: int = 0, speed: float = 50.0, **changes: Any) -> dict[str, Any]:
    """A row as `bench --json` has it, as far as a picture reads it."""
    return {
        "engine": "nearlight",
        "model": "Tiny",
        "weights": "w4",
        "kv": "f16",
        "cpu": "Box",
        "n_threads": 3,
        "test": "a test",
        "n_prompt": n_prompt,
        "n_gen": n_gen,
        "n_depth": n_depth,
        "n_ubatch": 512 if n_prompt else None,
        "avg_ts": speed,
        "stddev_ts": speed / 10,
        "limit_ts": 2 * speed,
        "predicted_ts": 1.25 * speed,
        "adjusted_ts": 1.6 * speed,
        "label": "calibrated",
    } | changes


PEER = {"engine": "llama.cpp", "limit_ts": None, "predicted_ts": None, "adjusted_ts": None, "label": "unsupported"}


def named(panel: Panel, name: str) -> Series:
    return next(series for series in panel.series if series.name == name)


def test_decode_is_latency_at_the_mean_position():
    (panel,) = bench_figure([row(n_gen=64, n_depth=1000, speed=40), row(n_gen=64, speed=50)]).panels
    measured = named(panel, "measured")
    assert measured.x == [32, 1032]
    assert measured.y == [20, 25]
    assert measured.errors == pytest.approx([2, 2.5])
    assert named(panel, "predicted").y == [16, 20]
    assert named(panel, "adjusted").y == [12.5, 15.625]
    assert named(panel, "limit").y == [10, 12.5]


def test_prefill_is_speed_by_length_with_the_best():
    rows = [row(64, speed=300), row(2048, speed=800), row(512, speed=900)]
    (panel,) = bench_figure(rows).panels
    assert named(panel, "measured").x == [64, 512, 2048]
    assert named(panel, "measured").y == [300, 900, 800]
    assert named(panel, "predicted").y == [375, 1125, 1000]
    assert [(note.x, note.text) for note in panel.notes] == [(512, "best: 900 tok/s in chunks of 512")]
    assert panel.x.log
    assert panel.x.ticks == [64, 512, 2048]


def test_groups_are_named_by_what_differs():
    rows = [row(n_gen=64), row(n_gen=64, **PEER), row(n_gen=64, weights="w8")]
    (panel,) = bench_figure(rows).panels
    assert {series.label for series in panel.series} == {"", "w4, nearlight", "w4, llama.cpp", "w8, nearlight"}
    assert len({series.colour for series in panel.series}) == 3
    assert "w4, llama.cpp predicted" not in {series.name for series in panel.series}


def test_prompts_after_different_depths_are_apart():
    (panel,) = bench_figure([row(512), row(512, n_depth=4096, speed=30)]).panels
    assert {series.label for series in panel.series} == {"", "after 0", "after 4096"}


def test_title_says_model_weights_and_machine():
    figure = bench_figure([row(512), row(n_gen=64)])
    assert figure.title == "Tiny, w4, on Box, 3 threads"
    assert "(calibrated)" in figure.subtitle
    assert "Line: adjusted to" in figure.subtitle
    assert "adjusted" not in bench_figure([row(512) | {"adjusted_ts": None}]).subtitle
    assert len(figure.panels) == 2


def test_nothing_measured():
    with pytest.raises(RequestError, match="nothing was measured"):
        bench_figure([])


def test_unsteady_rows_are_hollow_and_the_label_stays_at_the_last():
    rows = [row(n_gen=64, speed=50), row(n_gen=64, n_depth=1000, speed=40, unsteady=True)]
    figure = bench_figure(rows)
    steady, hollow = (series for series in figure.panels[0].series if series.name == "measured")
    assert (steady.kind, steady.x, steady.label) == ("points", [32], "")
    assert (hollow.kind, hollow.x, hollow.label) == ("hollow", [1032], "measured")
    assert "hollow while the machine changed" in figure.subtitle
    assert "hollow" not in bench_figure(rows[:1]).subtitle


def test_one_thread_is_one():
    assert bench_figure([row(n_gen=8, n_threads=1)]).title.endswith(", 1 thread")


@pytest.mark.parametrize(("best", "side"), [(64, "above right"), (512, "above"), (2048, "above left")])
def test_the_best_is_named_within_the_picture(best: int, side: str):
    rows = [row(length, speed=900 if length == best else 300) for length in (64, 128, 512, 1024, 2048)]
    (note,) = bench_figure(rows).panels[0].notes
    assert (note.x, note.side) == (best, side)


def test_the_tallest_error_bar_is_within_the_picture():
    rows = [row(512, speed=900, stddev_ts=1500, limit_ts=1000, predicted_ts=950, adjusted_ts=None), row(64, speed=300)]
    (panel,) = bench_figure(rows).panels
    assert panel.y.high is not None
    assert panel.y.high > 900 + 1500
