"""A page of HTML that holds everything it needs: the picture as SVG, and the value nearest to the pointer.

Nothing is fetched from anywhere, so the page can be mailed, kept, and opened without a network.
"""

from __future__ import annotations

import html
import json

from nearlight.plot.drawing import Spot, render_with_spots
from nearlight.plot.figure import Figure, value_text

_NEAR_PX = 40

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
  body {{ margin: 1rem auto; max-width: 1100px; background: #fff; font-family: Verdana, sans-serif; }}
  #picture {{ position: relative; }}
  #picture svg {{ width: 100%; height: auto; display: block; }}
  #dot {{ position: absolute; width: 10px; height: 10px; margin: -7px; border: 2px solid #222; border-radius: 50%; }}
  #value {{ position: absolute; padding: .3em .6em; background: #222; color: #fff; border-radius: 4px;
           font-size: 12px; white-space: pre; }}
  #dot, #value {{ pointer-events: none; visibility: hidden; }}
</style>
<div id="picture">
{svg}
<div id="dot"></div><div id="value"></div>
</div>
<script>
const spots = {spots};
const picture = document.getElementById("picture");
const dot = document.getElementById("dot"), value = document.getElementById("value");
picture.addEventListener("pointermove", event => {{
  const box = picture.getBoundingClientRect();
  let nearest = null, least = {near};
  for (const spot of spots) {{
    const across = spot[0] * box.width + box.left - event.clientX;
    const away = Math.hypot(across, spot[1] * box.height + box.top - event.clientY);
    if (away < least) {{ least = away; nearest = spot; }}
  }}
  dot.style.visibility = value.style.visibility = nearest ? "visible" : "hidden";
  if (!nearest) return;
  const left = nearest[0] * box.width, top = nearest[1] * box.height;
  value.textContent = nearest[2];
  dot.style.left = left + "px";
  dot.style.top = value.style.top = top + "px";
  const before = left > 0.7 * box.width;
  value.style.left = left + (before ? -12 - value.offsetWidth : 12) + "px";
}});
picture.addEventListener("pointerleave", () => dot.style.visibility = value.style.visibility = "hidden");
</script>
</html>
"""


def as_html(figure: Figure) -> bytes:
    """Draw a figure as a page."""
    svg, spots = render_with_spots(figure)
    picture = svg.decode("utf-8")
    picture = picture[picture.index("<svg") :]  # a page has no XML declaration in its middle
    values = json.dumps([(round(spot.x, 5), round(spot.y, 5), spot_text(spot)) for spot in spots])
    safe = values.replace("<", "\\u003c")  # a name in it may hold anything, but must not end the script
    page = _PAGE.format(title=html.escape(figure.title), svg=picture, spots=safe, near=_NEAR_PX)
    return page.encode("utf-8")


def spot_text(spot: Spot) -> str:
    """Say what a point is: its series, and both values with their units."""
    panel, series, i = spot.panel, spot.series, spot.index
    lines = [series.name]
    if series.texts is not None:
        lines.append(series.texts[i])
    for axis, value in ((panel.x, series.x[i]), (panel.y, series.y[i])):
        lines.append(f"{axis.name}: {value_text(value)} {axis.unit}".rstrip())
    return "\n".join(lines)
