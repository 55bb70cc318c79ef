"""The hook that changes how fast the kernels are, for tests to show that nothing depends on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEAK = "from nearlight import _native; print(_native.probe_peak(_native.DataType.fp32, 1, 0.005))"


def run(pace: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NEARLIGHT_PACE": pace}
    return subprocess.run([sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True)


def test_kernels_are_as_fast_as_told() -> None:
    slow, usual, fast = (float(run(pace, "-c", PEAK).stdout) for pace in ("0.02", "", "50"))
    assert slow * 5 < usual < fast / 5


@pytest.mark.parametrize("pace", ["half", "0", "-1", "1e9", "nan", "2x"])
def test_a_senseless_pace_is_refused(pace: str) -> None:
    done = run(pace, "-m", "nearlight", "run", "def f(", "-n", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"nearlight: NEARLIGHT_PACE: expected a number from 0.01 to 100, found {pace}\n"
