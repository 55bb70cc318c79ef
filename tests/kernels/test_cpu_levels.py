"""The choice of an instruction level. What each computes is tested by `make levels`, which runs this folder on all."""

import os
import subprocess
import sys
from pathlib import Path

from nearlight import _native

HERE = Path(__file__).parent


def run(level: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "NEARLIGHT_ISA": level},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
    )


def test_the_level_asked_for_is_used() -> None:
    for level in _native.isas():
        assert run(level, "-c", "from nearlight import _native; print(_native.isa())").stdout.strip() == level


def test_plain_is_always_there_and_the_best_is_chosen() -> None:
    assert _native.isas()[0] == "plain"
    assert run("", "-c", "from nearlight import _native; print(_native.isa())").stdout.strip() == _native.isas()[-1]


def test_a_level_this_processor_lacks_is_refused() -> None:
    done = run("avx1024", "-c", "from nearlight.kernels.cpu import CpuOps; CpuOps(1)")
    assert done.returncode != 0
    assert "NEARLIGHT_ISA: expected one of plain" in done.stderr
    assert "found avx1024" in done.stderr
