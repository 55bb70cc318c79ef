"""Spoiled packages of every family, loaded and run for a step in bounded children; and that the bounds are real."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.attacks import fuzzing
from tests.attacks.families import KINDS
from tests.attacks.fuzzing import Ended, fuzz
from tests.attacks.mutators import spoiled

FIRST, COUNT = 0, 80


@pytest.mark.parametrize("kind", KINDS)
def test_spoiled_packages_are_run_or_refused(kind: str) -> None:
    counts: Counter[str] = Counter()
    for ended in fuzz(kind, FIRST, COUNT):
        assert not ended.failed, f"python -m tests.attacks.fuzzing --case {kind} {ended.number}: {ended.how}"
        counts[ended.how] += 1
    assert counts.total() == COUNT
    assert len(counts) == 2, "mutations should neither all pass nor all fail"


def test_a_case_is_the_same_files_again() -> None:
    for kind in KINDS:
        assert spoiled(kind, 7) == spoiled(kind, 7)
        assert len({repr(spoiled(kind, number)) for number in range(10)}) == 10


_DYING = """
import os, sys
_, kind, first, count = sys.argv[1:]
for number in range(int(first), int(first) + int(count)):
    print("begin", number, flush=True)
    if number == 12:
        os.write(2, b"out of everything")
        os.abort()
    print("end", number, "raised 'ValueError: too bad'" if number == 13 else "opened", flush=True)
"""


def test_what_dies_is_named_and_the_rest_go_on() -> None:
    ended = list(fuzz("kind", 10, 6, program=("-c", _DYING)))
    assert [(case.number, case.failed) for case in ended] == [
        (10, False), (11, False), (12, True), (13, True), (14, False), (15, False)
    ]  # fmt: skip
    assert ended[2].how == "died with -6: 'out of everything'"
    assert ended[3].how == "raised 'ValueError: too bad'"


@pytest.mark.parametrize(
    ("wasteful", "died"),
    [("bytes(600 << 20)", 1), ("numpy.ones(600 << 20, 'u1')", 1), ("_ = [object()] * 2**28", 1), ("bytes(1 << 20)", 0)],
)
def test_room_is_bounded(wasteful: str, died: int) -> None:
    program = f"import numpy; from tests.attacks import fuzzing; fuzzing.limit_room(); {wasteful}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, "MemoryError" in ended.stderr) == (died, bool(died))


def test_time_is_bounded() -> None:
    program = "from tests.attacks import fuzzing; fuzzing.LIMIT_S = 1; fuzzing.limit_time()\nwhile True: pass"
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode < 0


def test_a_failing_case_is_saved_with_what_repeats_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "SAVED", tmp_path)
    line = fuzzing.saved(Ended("llama-gguf", 5, "raised 'ValueError: too bad'"))
    assert "--case llama-gguf 5" in line
    contents, source = spoiled("llama-gguf", 5)
    assert (tmp_path / "llama-gguf-5" / source).read_bytes() == contents[source]
    assert "--case llama-gguf 5" in (tmp_path / "llama-gguf-5" / "failure.txt").read_text()
