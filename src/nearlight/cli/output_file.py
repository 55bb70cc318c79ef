"""Checks a file that results will be written to, before the work that it is for."""

from __future__ import annotations

import os
from pathlib import Path

from nearlight.errors import RequestError


def require_writable(path: str | Path) -> None:
    """Make sure that a file can be written or made there; nothing is opened, and none is made.

    Raises: RequestError for a directory that is not there, what is no file, or a place one may not write to.
    """
    path = Path(path)
    directory = path.parent
    if not directory.is_dir():
        raise RequestError("no such directory", where=directory)
    if path.exists() and not path.is_file():
        raise RequestError("cannot be written", where=path, expected="a file", found=_kind(path))
    if not os.access(path if path.exists() else directory, os.W_OK):
        raise RequestError("may not be written", where=path, advice="choose a file in a directory of yours")


def _kind(path: Path) -> str:
    return "a directory" if path.is_dir() else "a pipe" if path.is_fifo() else "a device"
