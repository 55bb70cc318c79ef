"""Pictures of plans and of measurements: PNG, SVG, or a page of HTML with values under the pointer.

    of_plan, of_bench   numbers ─► a description (`figure`): panels, axes with units, lines, notes
    drawing, page       description ─► a file, with matplotlib, which is loaded here only and when it is needed

A description is plain data, so what a picture shows can be tested without looking at it.
"""

from __future__ import annotations

from nearlight.plot.figure import Axis, Figure, Note, Panel, Series
from nearlight.plot.file import check_target, draw
from nearlight.plot.of_bench import bench_figure
from nearlight.plot.of_plan import plan_figure

__all__ = ["Axis", "Figure", "Note", "Panel", "Series", "bench_figure", "check_target", "draw", "plan_figure"]
