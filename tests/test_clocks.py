"""No test knows how fast the machine is: it waits for events, and gives clocks rather than reading them.

Sleeping for long enough, or ending within some time, holds on one machine and not on the next. What is allowed against
hanging is pytest's own timeout, which is the same for all tests.
"""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent
CLOCKS = {"sleep", "time", "monotonic", "perf_counter", "process_time", "thread_time", "timeit", "getrusage", "Timer"}
CLOCKS |= {f"{name}_ns" for name in CLOCKS}


ALLOWED = {"attacks/fuzzing.py"}
"""The fuzzer: it runs for as long as it is told to, and says what a case took."""


def clocks(source: str) -> list[str]:
    """Return what a program uses of clocks: calls of them, and limits in seconds given as `timeout=`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        limits = [word.value for word in node.keywords if word.arg in ("timeout", "timeout_s")]
        limited = any(not (isinstance(limit, ast.Constant) and limit.value is None) for limit in limits)
        if name in CLOCKS or limited:
            found.append(f"line {node.lineno}: {ast.unparse(node)[:80]}")
    return found


def test_no_test_reads_a_clock() -> None:
    found = {str(path.relative_to(TESTS)): clocks(path.read_text(encoding="utf-8")) for path in TESTS.rglob("*.py")}
    assert {path for path, uses in found.items() if uses} == ALLOWED, found


def test_clocks_are_seen() -> None:
    assert clocks("import time\ntime.sleep(0.2)\n") == ["line 2: time.sleep(0.2)"]
    assert clocks("run(now=perf_counter)\nprocess.wait(timeout=5)\nspawn(timeout=None)\n") == [
        "line 2: process.wait(timeout=5)"
    ]
    assert clocks("start = perf_counter_ns()") == ["line 1: perf_counter_ns()"]
