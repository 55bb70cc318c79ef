"""Loads spoiled packages and takes a first step with each, under limits: nothing but a NearlightError may come of it.

    python -m tests.attacks.fuzzing                       for hours, on all cores; Ctrl-C ends with the summary
    python -m tests.attacks.fuzzing --case KIND NUMBER    one case again

A case is a kind of package and a number, and is the same file everywhere. Cases run one after the other in a child
process whose address space is bounded and whose processor time is bounded anew for each case, by far more than a sound
package takes; a child that dies has named its case before, and another one goes on with the next.
"""

from __future__ import annotations

import argparse
import gc
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.attacks.families import KINDS, sound_parts, write
from tests.attacks.mutators import spoiled

ROOM_BYTES = 512 << 20
"""Of address space beyond what a process has that loaded a sound package; one takes some 40 MB of it."""
LIMIT_S = 60
"""Of processor time for a case; a sound package takes about a twentieth of a second."""

OPENED, REFUSED = "opened", "refused"
_RUNS, _SHOWN_EVERY_S, SAVED = 200, 60.0, Path("fuzz-failures")


@dataclass(frozen=True)
class Ended:
    """How a case ended: opened, refused, or, where it should not have, what happened instead."""

    kind: str
    number: int
    how: str

    @property
    def failed(self) -> bool:
        return self.how not in (OPENED, REFUSED)


def try_package(path: Path, weights: str | None = None) -> str:
    """Do with a package what a person would: look it over, load it, count it, complete ids, answer a text.

    Whatever may be refused is refused by a NearlightError; every other exception is a fault.
    """
    import nearlight
    from nearlight.errors import NearlightError
    from nearlight.package import open_package
    from nearlight.plan.inspection import look_over

    try:
        look_over(open_package(path))
        model = nearlight.load(path, weights=weights, threads=1, cache=False)
    except NearlightError as error:
        _check(error)
        return REFUSED
    ended = OPENED
    uses = [lambda: model.counted.decode(8), lambda: model.generate([1, 2, 3], max_tokens=2)]
    if model.package.tokenizer:
        uses += [
            lambda: model.generate("Hello wörld, the cat", max_tokens=2),
            lambda: model.generate("the\n", raw=True, max_tokens=2),
        ]
    for use in uses:
        try:
            use()
        except NearlightError as error:
            _check(error)
            ended = REFUSED
    return ended


def _check(error: Exception) -> None:
    assert "\n" not in str(error), "more than one line"
    assert len(str(error)) < 2000, f"a line of {len(str(error))} letters"


# -- the child ---------------------------------------------------------------------------------------------------------


def run_cases(kind: str, first: int, count: int) -> None:
    """Run cases in this process, telling each on stdout before and after."""
    with tempfile.TemporaryDirectory(prefix="nearlight-fuzz-") as home:
        os.environ["XDG_CACHE_HOME"] = home
        parts = sound_parts(kind)
        write(parts.contents(), Path(home, "sound"))
        sound = try_package(Path(home, "sound", parts.source))
        assert sound == OPENED, f"the sound {kind} is {sound}"
        limit_room()
        for number in range(first, first + count):
            print("begin", number, flush=True)
            contents, source = spoiled(kind, number)
            directory = Path(home, str(number))
            write(contents, directory)
            limit_time()
            try:
                how = try_package(directory / source, "w4" if number % 5 == 0 else None)
            except BaseException as error:
                how = f"raised {type(error).__name__} " + repr(str(error)[:300] + "\n" + traceback.format_exc(limit=-6))
            print("end", number, how, flush=True)
            gc.collect()  # a model goes only then, and the room is for one at a time


def limit_room() -> None:
    """Bound this process's address space to what it has and `ROOM_BYTES` more."""
    import resource

    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if _HAS_PROC else 8 << 30
    resource.setrlimit(resource.RLIMIT_AS, (held + ROOM_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_time() -> None:
    """Bound this process's processor time to what it has used and `LIMIT_S` more."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    spent_s = int(used.ru_utime + used.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (spent_s + LIMIT_S, resource.getrlimit(resource.RLIMIT_CPU)[1]))


_HAS_PROC = Path("/proc/self/statm").exists()


# -- the parent --------------------------------------------------------------------------------------------------------


def fuzz(
    kind: str, first: int, count: int, program: tuple[str, str] = ("-m", "tests.attacks.fuzzing")
) -> Iterator[Ended]:
    """Run `count` cases in children, and yield how each ended."""
    number, stop = first, first + count
    while number < stop:
        command = [sys.executable, *program, "--run", kind, str(number), str(stop - number)]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the parent
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            begun = None
            try:
                for line in child.stdout:
                    word, case, *how = line.rstrip("\n").split(" ", 2)
                    begun = int(case) if word == "begin" else None
                    if word == "end":
                        yield Ended(kind, int(case), how[0])
                        number = int(case) + 1
                said = child.stderr.read()[-2000:]
            finally:
                child.kill()  # where the caller wants no more
        if begun is not None:
            yield Ended(kind, begun, f"died with {child.returncode}: {said!r}")
            number = begun + 1
        elif child.returncode:
            raise RuntimeError(f"{kind} cannot be fuzzed: {said}")


def _environment() -> dict[str, str]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    return os.environ | one | {"TOKENIZERS_PARALLELISM": "false", "MALLOC_ARENA_MAX": "2"}


class Campaign:
    """Cases without end, by several workers: counted, and written down where they fail.

    `seed` is the number of the first case of every kind.
    """

    def __init__(self, seed: int, workers: int) -> None:
        self.seed, self.workers = seed, workers
        self.counts: Counter[str] = Counter()
        self.failures: list[Ended] = []
        self._turn = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._started = time.monotonic()

    def run(self, limit_s: float | None) -> None:
        """Fuzz until Ctrl-C, or for so long, with a line a minute."""
        threads = [threading.Thread(target=self._work) for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        try:
            while not self._stopped.is_set() and (limit_s is None or time.monotonic() - self._started < limit_s):
                left_s = _SHOWN_EVERY_S if limit_s is None else limit_s - (time.monotonic() - self._started)
                if left_s >= _SHOWN_EVERY_S and not self._stopped.wait(_SHOWN_EVERY_S):
                    print(self.summary(), file=sys.stderr, flush=True)
                else:
                    self._stopped.wait(left_s)
        except KeyboardInterrupt:
            print(file=sys.stderr)
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def _work(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                turn, self._turn = self._turn, self._turn + 1
            kind = list(KINDS)[turn % len(KINDS)]
            try:
                for ended in fuzz(kind, self.seed + turn // len(KINDS) * _RUNS, _RUNS):
                    self._count(ended)
                    if self._stopped.is_set():
                        return
            except BaseException:
                self._stopped.set()  # a mistake in what fuzzes ends it: told on stderr by Python
                raise

    def _count(self, ended: Ended) -> None:
        with self._lock:
            self.counts["failed" if ended.failed else ended.how] += 1
            if ended.failed:
                self.failures.append(ended)
                print(saved(ended), file=sys.stderr, flush=True)

    def summary(self) -> str:
        """Say in a line what was done so far."""
        minutes = (time.monotonic() - self._started) / 60
        figures = ", ".join(f"{self.counts[how]} {how}" for how in (OPENED, REFUSED, "failed"))
        return f"{self.counts.total()} cases in {minutes:.1f} min, seed {self.seed}: {figures}"


def saved(ended: Ended) -> str:
    """Write a failing case down, and say where, and how to run it again."""
    contents, source = spoiled(ended.kind, ended.number)
    directory = SAVED / f"{ended.kind}-{ended.number}"
    again = shlex.join([sys.executable, "-m", "tests.attacks.fuzzing", "--case", ended.kind, str(ended.number)])
    if not directory.exists():
        write(contents, directory)
    what = f"{ended.kind} {ended.number}: {ended.how[:400]}"
    (directory / "failure.txt").write_text(f"{ended.how}\nagain: {again}\nopened: {source}\n")
    return f"{what}\n  saved in {directory}; again: {again}"


def main() -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks.fuzzing", description="Fuzz loading and a first step."
    )
    parser.add_argument("--seed", type=int, help="number of the first cases (default: from the clock)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="children at a time (default: cores)")
    parser.add_argument("--minutes", type=float, help="end after so long (default: at Ctrl-C)")
    parser.add_argument("--case", nargs=2, metavar=("KIND", "NUMBER"), help="run one case, and say how it ended")
    parser.add_argument("--run", nargs=3, metavar=("KIND", "FIRST", "COUNT"), help="run cases here (for the children)")
    args = parser.parse_args()
    if args.run:
        run_cases(args.run[0], int(args.run[1]), int(args.run[2]))
        return 0
    if args.case:
        (ended,) = fuzz(args.case[0], int(args.case[1]), 1)
        print(ended.how.encode().decode("unicode_escape") if ended.failed else ended.how)
        return int(ended.failed)
    campaign = Campaign(int(time.time()) if args.seed is None else args.seed, args.workers)
    print(f"fuzzing with seed {campaign.seed} on {campaign.workers} workers; Ctrl-C ends", file=sys.stderr, flush=True)
    campaign.run(None if args.minutes is None else 60 * args.minutes)
    print(campaign.summary())
    return int(bool(campaign.failures))


if __name__ == "__main__":
    sys.exit(main())
