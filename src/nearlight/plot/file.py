"""From a description to a file; the ending of its name says which kind."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from nearlight.errors import RequestError
from nearlight.plot.figure import Figure

ENDINGS = (".png", ".svg", ".html")


def check_target(path: str | Path) -> None:
    """Make sure that a picture can be drawn to a path, before any work is done for it.

    Raises: RequestError for another ending, a directory that is not there, or without matplotlib.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise RequestError("kind of picture", where=path, expected=" or ".join(ENDINGS), found=path.suffix or "none")
    if not path.parent.is_dir():
        raise RequestError("no such directory", where=path.parent)
    if find_spec("matplotlib") is None:
        raise RequestError("pictures need matplotlib", advice="pip install matplotlib")


def draw(figure: Figure, path: str | Path) -> None:
    """Draw a figure to a file. Raises: RequestError as `check_target` does, or when it cannot be written."""
    check_target(path)
    from nearlight.plot import drawing, page

    path = Path(path)
    content = (
        page.as_html(figure) if path.suffix.lower() == ".html" else drawing.render(figure, path.suffix[1:].lower())
    )
    try:
        path.write_bytes(content)
    except OSError as error:
        raise RequestError(f"cannot be written ({error.strerror})", where=path) from None
