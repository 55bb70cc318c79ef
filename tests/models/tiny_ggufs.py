"""Tiny files of many families that llama.cpp's converter made, which lie outside the repository.

Beside the checkout, or where NEARLIGHT_TINY_GGUFS says; `docs/formats.md` tells what each family's have.
"""

from __future__ import annotations

import os
from pathlib import Path

from nearlight.models import why_not_run
from nearlight.package import open_package

FILES = Path(os.environ.get("NEARLIGHT_TINY_GGUFS") or Path(__file__).parents[3] / "shared" / "gguf")


def all_files() -> list[Path]:
    return sorted(FILES.glob("*.gguf"))


def that_run() -> list[Path]:
    """Return those of families that run."""
    return [path for path in all_files() if why_not_run(open_package(path).model_type) is None]
