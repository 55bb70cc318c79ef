"""Files are what their names say, and hold the words and the places of what was described."""

from __future__ import annotations

import json
import re
import struct
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearlight.errors import RequestError
from nearlight.plot import Axis, Figure, Note, Panel, Series, draw
from nearlight.plot.drawing import spread

WORDS = ("Title <of> $all$", "grounds & more", "left panel", "right panel", "bf16 label", "a note", "size (GB)")


@pytest.fixture(scope="module")
def figure() -> Figure:
    rising = Series("rise", (1, 10, 100), (2, 20, 200), 0, label="bf16 label", strong=True, texts=("p", "q", "r"))
    early = Series("early", (0, 3), (5, 6), 1, "dashed", label="ends early")
    dots = Series("dots", (1, 7), (3, 4), 2, "points", label="dots", errors=(0.5, 0.25))
    lonely = Series("lonely", (10,), (5,), 3, "dotted")
    left = Panel("left panel", Axis("a", "FLOP/B", log=True, low=0.5, high=200), Axis("b", "s", log=True), [rising])
    right = Panel(
        "right panel",
        Axis("context", "tokens", low=0, high=10),
        Axis("size", "GB", low=0, high=8),
        [early, dots, lonely, Series("roof", (0, 10), (1, 2), label="along it", along=True)],
        [Note(5, 5, "a note", 1), Note(10, 7, "", dot=True)],
    )
    return Figure("Title <of> $all$", "grounds & more", [[left], [right, left]])


def test_png(figure: Figure, tmp_path: Path):
    draw(figure, tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (1600, round((0.75 + 2 * 3.7) * 160))
    assert content.endswith(b"IEND\xaeB`\x82")


def test_svg_keeps_words_as_words(figure: Figure, tmp_path: Path):
    draw(figure, tmp_path / "a.SVG")
    root = ElementTree.parse(tmp_path / "a.SVG").getroot()
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert set(WORDS) <= set(words)
    assert {"ends early", "dots", "along it"} <= set(words)


def test_same_description_same_file(figure: Figure, tmp_path: Path):
    for name in ("a.svg", "b.svg"):
        draw(figure, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.fixture(scope="module")
def page(figure: Figure, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pages") / "a.html"
    draw(figure, path)
    return path.read_text("utf-8")


def spots_of(page: str) -> list[tuple[float, float, str]]:
    return json.loads(re.search(r"const spots = (\[.*\]);", page)[1])


def test_html_is_self_contained_and_knows_its_points(page: str):
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>Title &lt;of&gt; $all$</title>" in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", page.split("<svg")[0] + page.split("</svg>")[1])
    assert "@import" not in page
    spots = spots_of(page)
    texts = [text for _, _, text in spots]
    assert "rise\nq\na: 10 FLOP/B\nb: 20 s" in texts
    assert "dots\ncontext: 7 tokens\nsize: 4 GB" in texts
    assert all(0 < x < 1 and 0 < y < 1 for x, y, _ in spots)


def test_points_rise_where_values_do(page: str):
    """On a log axis, equal factors are equal ways; higher values are nearer to the picture's upper edge."""
    (x0, y0), (x1, y1), (x2, y2) = [(x, y) for x, y, text in spots_of(page) if text.startswith("rise")][:3]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=2e-5)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=2e-5)
    assert y0 > y1 > y2


def test_a_name_cannot_end_the_script(tmp_path: Path):
    bad = Series("</script><script>alert(1)</script>", (1, 2), (1, 2), 0, label="</svg><b>")
    draw(Figure("t", "s", [[Panel("p", Axis("x", "u"), Axis("y", "v"), [bad])]]), tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "</svg><b>" not in page


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.jpg", r"expected \.png or \.svg or \.html, found \.jpg"),
        ("a", "found none"),
        ("missing/a.png", "no such directory"),
        ("folder.png", "cannot be written"),
    ],
)
def test_impossible_targets(figure: Figure, tmp_path: Path, name: str, message: str):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(RequestError, match=message):
        draw(figure, tmp_path / name)


def test_without_matplotlib_one_line_says_what_to_do(figure: Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nearlight.plot.file.find_spec", lambda name: None)
    with pytest.raises(RequestError, match="pictures need matplotlib; pip install matplotlib"):
        draw(figure, tmp_path / "a.png")


def test_describing_needs_no_matplotlib():
    import subprocess

    code = "import sys, nearlight.plot; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


# -- labels ------------------------------------------------------------------------------------------------------------


def test_far_labels_stay():
    assert spread([30.0, 0.0, 14.0], 12.0) == [30.0, 0.0, 14.0]


def test_near_labels_part_around_their_middle():
    assert spread([10.0, 12.0], 12.0) == [5.0, 17.0]
    assert spread([7.0, 7.0, 7.0], 10.0) == [-3.0, 7.0, 17.0]


def test_a_block_takes_its_neighbour_in():
    assert spread([0.0, 1.0, 8.0, 40.0], 10.0) == pytest.approx([-7.0, 3.0, 13.0, 40.0])


@given(st.lists(st.floats(-1e3, 1e3), max_size=9))
def test_order_and_distance_hold(places: list[float]):
    moved = spread(places, 12.5)
    order = sorted(range(len(places)), key=lambda i: places[i])
    assert all(moved[b] - moved[a] > 12.5 - 1e-6 for a, b in pairwise(order))
    assert sum(moved) == pytest.approx(sum(places), abs=1e-6)
