"""Where a source tree of llama.cpp is, for tests that hold us to what lies there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def source() -> Path:
    """Return what NEARLIGHT_LLAMA_CPP says; skip the test where it says nothing."""
    told = os.environ.get("NEARLIGHT_LLAMA_CPP")
    if not told:
        pytest.skip("no source of llama.cpp; NEARLIGHT_LLAMA_CPP says where one is")
    return Path(told)
