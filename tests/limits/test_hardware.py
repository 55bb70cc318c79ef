"""The rows of machines, and how a person may write one."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from nearlight.errors import RequestError
from nearlight.limits.hardware import Hardware, find_hardware, known_hardware

ROW = {"name": "mine", "memory_bytes": 8e9, "bytes_per_s": 5e10, "flops": {"fp32": 1e12}}


def test_every_row_has_an_address_and_sensible_peaks():
    rows = known_hardware()
    assert len(rows) >= 25
    for row in rows.values():
        assert row.source.startswith("https://")
        assert row.peak("int8") >= row.peak("bf16") >= row.peak("fp32") > row.bytes_per_s
        assert row.memory_bytes % 2**30 == 0


def test_every_row_says_which_of_its_figures_were_seen():
    rows = json.loads(resources.files("nearlight.limits").joinpath("hardware.json").read_text("utf-8"))
    for short, row in rows.items():
        figures = {"memory_bytes", "bytes_per_s", *row["flops"]}
        assert set(row["unconfirmed"]) <= figures, short
        assert all(address.startswith("https://") for address in row["confirmed_by"]), short
        assert row["confirmed_by"] or {"bytes_per_s", *row["flops"]} <= set(row["unconfirmed"]), short
    assert sum("bytes_per_s" not in row["unconfirmed"] for row in rows.values()) >= 25


@pytest.mark.parametrize(
    "name",
    [
        "rtx3090", "rtx4090", "rtx5090", "a100-40gb", "a100-80gb", "h100-sxm", "h100-pcie", "h200", "b200", "l40s",
        "mi300x", "m1", "m2-max", "m3-ultra", "ryzen-7950x", "ryzen-9950x", "epyc-9654", "xeon-8480",
    ],
)  # fmt: skip
def test_machines_of_the_list_are_there(name):
    assert find_hardware(name).memory_bytes > 2**30


def test_rtx_4090_is_as_its_data_sheet_says():
    row = find_hardware("RTX 4090")
    assert (row.bytes_per_s, row.memory_bytes) == (1008e9, 24 * 2**30)
    assert (row.flops["fp32"], row.flops["bf16"], row.flops["int8"]) == (82.58e12, 165.2e12, 660.6e12)


def test_missing_types_are_computed_in_wider_ones():
    machine = Hardware("m", "cpu", 1e9, 1e10, {"fp32": 3.0, "bf16": 5.0}, "by hand")
    assert [machine.peak(name) for name in ("int8", "bf16", "fp32")] == [5.0, 5.0, 3.0]


def test_binary_units_stretch_bandwidth_and_peaks_but_not_memory():
    row = find_hardware("rtx4090").in_binary_units()
    assert row.bytes_per_s == 1008 * 2**30
    assert row.flops["fp32"] == pytest.approx(82.58 * 2**40, rel=1e-12)
    assert row.memory_bytes == 24 * 2**30


def test_misspelt_name_gets_suggestions():
    with pytest.raises(RequestError, match=r"hardware: expected one of .*rtx4090.*, found 'rtx409'; or give a JSON"):
        find_hardware("rtx409")


def test_row_goes_through_json():
    assert Hardware.from_json(find_hardware("m1").as_json()) == find_hardware("m1")
    assert Hardware.from_json(ROW, "mine.json").source == "mine.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flops": None}, "mine.json: flops: expected an object like .*, found None"),
        (
            {"flops": {"bf16": 1e12}},
            "hardware mine: flops: expected fp32, and perhaps bf16, int16 and int8, found bf16",
        ),
        ({"flops": {"fp32": 1e12, "fp4": 1e15}}, "flops: expected fp32"),
        ({"memory_bytes": -1}, "memory_bytes: expected a positive number, found -1"),
        ({"bytes_per_s": "fast"}, "bytes_per_s: expected a positive number, found 'fast'"),
        ({"bytes_per_s": float("nan")}, "bytes_per_s: expected a positive number, found nan"),
        ({"kind": "abacus"}, "kind: expected gpu or cpu, found 'abacus'"),
    ],
)
def test_senseless_row_is_refused(change, message):
    with pytest.raises(RequestError, match=message):
        Hardware.from_json(ROW | change, "mine.json")


@pytest.mark.parametrize("row", [[], "rtx4090", {"name": "mine"}])
def test_row_without_its_keys_is_refused(row):
    with pytest.raises(RequestError, match=r"mine\.json"):
        Hardware.from_json(row, "mine.json")
