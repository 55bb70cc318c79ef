"""What a plan's picture shows is what the plan says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nearlight.limits.cache import Cache
from nearlight.limits.hardware import Hardware
from nearlight.plan import Plan, compare_weights
from nearlight.plot import Figure, Note, Panel, Series, plan_figure

CPU = Hardware("box", "cpu", 25e9, 48e9, {"fp32": 5e11, "bf16": 9.5e11, "int8": 2e12}, "by hand", label="measured")


def plans_of(model: str, hardware: Hardware | str, weights: str = "bf16", **options: object) -> list[Plan]:
    plans = compare_weights(model, hardware, **options)
    plans.sort(key=lambda plan: plan.weights != weights)
    return plans


@pytest.fixture(scope="module")
def small() -> list[Plan]:
    return plans_of("qwen3-0.6b", CPU)


@pytest.fixture(scope="module")
def picture(small: list[Plan]) -> Figure:
    return plan_figure(small)


def panel_of(figure: Figure, title: str) -> Panel:
    return next(panel for panel in figure.panels if panel.title.startswith(title))


def series_of(panel: Panel, name: str) -> Series:
    return next(series for series in panel.series if series.name == name)


def note_of(panel: Panel, text: str) -> Note:
    return next(note for note in panel.notes if text in note.text)


def test_title_says_model_weights_machine_and_grounds():
    figure = plan_figure(plans_of("gpt2", CPU, "w8"))
    assert figure.title == "gpt2, w8, on box"
    assert figure.subtitle == (
        "Limits from ceilings measured on this machine. 1024 tokens of context (f16) fit into 23.3 GiB."
    )
    estimated = plan_figure(plans_of("qwen3-32b", "rtx4090"))
    assert "estimated" in estimated.subtitle
    assert "do not fit into 24 GiB" in estimated.subtitle


def test_the_slope_is_that_of_what_is_read():
    cached = replace(CPU, cache=Cache(1e9, 300e9))
    for hardware, slope in ((CPU, "reading 48 GB/s"), (cached, "reading 300 GB/s")):
        roofline = panel_of(plan_figure(plans_of("gpt2", hardware)), "Roofline")
        assert series_of(roofline, "bandwidth").label == slope


def test_axes_have_units(picture: Figure):
    for panel in picture.panels:
        assert panel.x.unit
        assert panel.y.unit


def test_latency_is_the_plans(small: list[Plan], picture: Figure):
    panel = panel_of(picture, "Latency")
    for plan in small:
        line = series_of(panel, f"{plan.weights}, decode")
        shown = dict(zip(line.x, line.y, strict=True))
        assert shown[0] == 1000 * plan.decode[0].tpot_s
        assert shown[plan.max_context] == 1000 * plan.decode[-1].tpot_s
        assert f"{plan.decode[0].tok_s:.0f} → {plan.decode[-1].tok_s:.1f} tok/s" in line.label
    assert [line.strong for line in panel.series if line.label] == [True, False, False, False]


def test_memory_is_the_plans():
    plan, *others = plans_of("qwen1.5-7b", "rtx4090", context=32768)
    panel = panel_of(plan_figure([plan, *others]), "Memory")
    line = series_of(panel, "bf16, memory")
    assert dict(zip(line.x, line.y, strict=True))[32768] == pytest.approx(plan.memory.total / 2**30)
    assert line.label == f"bf16 up to {plan.max_context}"
    assert series_of(panel, "w4, memory").label == "w4"
    assert series_of(panel, "available").y == (24,) * 2
    full = [note.x for note in panel.notes if note.dot]
    assert full == [each.max_context for each in sorted([plan, *others], key=lambda e: e.max_context)[:2]]


def test_much_memory_is_named_at_the_edge():
    panel = panel_of(plan_figure(plans_of("gpt2", CPU)), "Memory")
    assert note_of(panel, "↑ 23.3 GiB available")
    assert all(series.name != "available" for series in panel.series)
    assert panel.y.high is not None
    assert panel.y.high < 1


def test_roofline_is_the_machines(picture: Figure):
    panel = panel_of(picture, "Roofline")
    for kind, peak in CPU.flops.items():
        ceiling = series_of(panel, f"{kind} peak")
        assert ceiling.y == (peak / 1e12, peak / 1e12)
        assert ceiling.x[0] == pytest.approx(peak / 48e9)
    (low, ridge), slope = series_of(panel, "bandwidth").x, series_of(panel, "bandwidth").y
    assert [y * 1e12 / x for x, y in zip((low, ridge), slope, strict=True)] == pytest.approx([48e9, 48e9])


def test_work_lies_on_the_roofline_where_the_plan_puts_it(small: list[Plan], picture: Figure):
    prefill = small[0].prefill
    assert prefill is not None
    panel = panel_of(picture, "Roofline")
    path = series_of(panel, "bf16")
    assert all(y * 1e12 <= x * 48e9 * (1 + 1e-9) for x, y in zip(path.x, path.y, strict=True))
    assert max(path.y) <= 0.95
    operations = sum(sum(step.operations.values()) for step in small[0].costs.prefill(1000, small[0].chunk))
    assert path.y[-1] == pytest.approx(operations / prefill.ttft_s / 1e12)
    assert path.texts is not None
    assert path.texts[0] == "prompt of 1"
    assert note_of(panel, "decode at bf16").text.endswith(f"{small[0].decode[0].tok_s:.0f} tok/s")
    assert note_of(panel, "inflection").text.startswith(f"{prefill.inflection_tokens:.0f} tokens")
    assert note_of(panel, "prompt of 1000").text.endswith(f"{1000 / prefill.ttft_s:.0f} tok/s")


def test_blog_convention_computes_in_fp32_only():
    panel = panel_of(plan_figure(plans_of("qwen1.5-7b", "rtx4090", "w16", convention="blog")), "Roofline")
    assert [series.name for series in panel.series] == ["bandwidth", "fp32 peak", "w16"]


def test_what_does_not_fit_has_no_speed():
    figure = plan_figure(plans_of("qwen1.5-72b", "rtx4090"))
    assert [panel.title.split(":")[0] for panel in figure.panels] == ["Roofline", "Memory"]
    assert figure.panels[0].notes == []
    assert all("peak" in series.name or series.name == "bandwidth" for series in figure.panels[0].series)
    assert series_of(figure.panels[1], "w4, memory").label == "w4 never fits"


def test_another_format_is_drawn_where_the_planned_one_does_not_fit():
    figure = plan_figure(plans_of("qwen3-32b", "rtx4090"))
    assert note_of(panel_of(figure, "Roofline"), "decode at w4")
    assert [line.name for line in panel_of(figure, "Latency").series if line.label] == ["w4, decode"]
