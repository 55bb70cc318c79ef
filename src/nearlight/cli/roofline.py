"""`nearlight roofline`: this machine's ceilings, against which every share of a limit is measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from nearlight.cli.arguments import Parser, thread_count
from nearlight.kernels.cpu import CpuOps
from nearlight.machine.figures import figures_file
from nearlight.machine.memory import total_memory
from nearlight.machine.probe import Ceilings, ceilings_by_threads
from nearlight.machine.processor import cache_bytes, last_cache_bytes, processor_name
from nearlight.quantities import bytes_text, memory_text, number_of, significant
from nearlight.terminal.progress import ProgressBar
from nearlight.terminal.table import table
from nearlight.terminal.tty import BOLD, styled
from nearlight.terminal.wrapping import filled

_EXAMPLES = """\
  nearlight roofline
  nearlight roofline --threads 4 --json
  nearlight roofline --fresh           measure again

NEARLIGHT_ISA=plain, avx2 or avx512 chooses another instruction level than the best."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    parser = Parser(
        "roofline", "Measure how fast this machine reads memory and multiplies: the limits of every model.", _EXAMPLES
    )
    parser.add_argument(
        "-t", "--threads", type=thread_count, metavar="N", help="threads at most (default: physical cores)"
    )
    parser.add_argument("--fresh", action="store_true", help="measure again, although the figures are known")
    args = parser.parse_args(arguments)
    ops = CpuOps(args.threads)
    with ProgressBar("measuring", lambda n: f"{n:.0f}", delay_s=0.3) as bar:
        found = ceilings_by_threads(ops.threads, fresh=args.fresh, progress=bar.update)
    print(json.dumps(as_json(ops.isa, found)) if args.json else as_text(ops.isa, found))
    return 0


def as_json(isa: str, found: Sequence[Ceilings]) -> dict[str, Any]:
    """Build the object of `roofline --json`: the figures of all threads, and by number of threads.

    Units: bytes and operations per second, bytes. Keys may be added and are never taken away.
    """
    best = found[-1]
    return {
        "cpu": processor_name(),
        "isa": isa,
        "threads": best.threads,
        "read_bytes_per_s": best.read_bytes_per_s,
        "cache_bytes_per_s": best.cache_bytes_per_s,
        "flops": dict(best.flops),
        "read_taken": best.taken,
        "other_levels_bytes_per_s": list(best.other_states),
        "by_threads": [
            {
                "threads": one.threads,
                "read_bytes_per_s": one.read_bytes_per_s,
                "cache_bytes_per_s": one.cache_bytes_per_s,
                "cache_bytes": cache_bytes(one.threads),
                "flops": dict(one.flops),
                "read_taken": one.taken,
                "other_levels_bytes_per_s": list(one.other_states),
            }
            for one in found
        ],
        "last_cache_bytes": last_cache_bytes(),
        "memory_bytes": total_memory(),
        "cached_in": str(figures_file()),
    }


def as_text(isa: str, found: Sequence[Ceilings]) -> str:
    """Lay the ceilings out for a person, with the point where one takes over from the other."""
    columns = {
        "threads": [str(one.threads) for one in found],
        "memory": [f"{bytes_text(one.read_bytes_per_s)}/s" for one in found],
        "cache": [f"{bytes_text(one.cache_bytes_per_s)}/s" for one in found if one.cache_bytes_per_s],
        **{name: [_flops_text(one.flops[name]) for one in found] for name in found[-1].flops},
    }
    columns = {name: texts for name, texts in columns.items() if texts}  # of caches the system may not tell
    best = found[-1]
    balance = ", ".join(f"{peak / best.read_bytes_per_s:.0f} in {name}" for name, peak in best.flops.items())
    sentences = [
        f"A byte from memory takes as long as {balance} operations: with less work per byte, reading bounds.",
        *_cache(best),
        f"The machine has {memory_text(total_memory(), 3)} of memory.",
        *_states(found),
        f"Probed {time_text(best.taken)}; --fresh measures again.",
    ]
    return "\n".join(
        (
            styled(processor_name(), BOLD, sys.stdout) + f" · {isa}",
            "",
            table(
                tuple(columns), list(zip(*columns.values(), strict=True)), right=range(len(columns)), stream=sys.stdout
            ),
            "",
            *(filled(sentence, sys.stdout) for sentence in sentences),
        )
    )


def _cache(best: Ceilings) -> list[str]:
    """Say which models have the cache's limit."""
    if not best.cache_bytes_per_s:
        return []
    size = memory_text(cache_bytes(best.threads))
    return [f"A model that reads up to {size} for a token stays in the last caches, and their speed is its limit."]


def _states(found: Sequence[Ceilings]) -> list[str]:
    """Say where reading was seen at more than one speed."""
    lines = []
    for one in found:
        if one.other_states:
            held, others = f"{bytes_text(one.read_bytes_per_s)}/s", [f"{bytes_text(n)}/s" for n in one.other_states]
            threads = number_of(one.threads, "thread")
            lines.append(
                f"{threads} read at {held} for most of the time, and at {' and '.join(others)} at others: hosts of "
                "virtual machines switch between such states. What held is the limit; bench probes again all the time."
            )
    return lines


def time_text(iso: str) -> str:
    """Write a time as people here do: "2026-11-20 12:31"."""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")


def _flops_text(per_s: float) -> str:
    """Write operations per second: "470 G/s", "2.07 T/s"."""
    return f"{significant(per_s / 1e12, 3)} T/s" if per_s >= 0.9995e12 else f"{significant(per_s / 1e9, 3)} G/s"
