"""A model measured from beginning to end: forecast, load, run beside peers, account for the time.

The order matters: what is expected of every workload is stored before the model is loaded, so that no measurement of it
can reach it. Where the machine is in another state by the time of a workload (`steady` tells why that happens),
calibration is repeated in that state before the workload is run; that changes what is expected in hindsight
(`adjusted_ts`), and never what was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from nearlight.bench.calibration import calibrate
from nearlight.bench.contestant import OwnEngine
from nearlight.bench.explain import Explanation, explain
from nearlight.bench.measure import CHUNKS, Bench, Forecast
from nearlight.bench.memory import Memory, own_bytes, predict, release
from nearlight.bench.peers.process import Arena, started
from nearlight.bench.probing import profile_engine, sampling_seconds
from nearlight.bench.results import Row
from nearlight.bench.steady import Watch
from nearlight.bench.subject import Description, setting_of
from nearlight.bench.workload import Workload
from nearlight.engine.engine import CHUNK_ROWS, Engine
from nearlight.errors import RequestError
from nearlight.kernels.count import cpu_target
from nearlight.kernels.cpu import CpuOps
from nearlight.limits.hardware import Hardware
from nearlight.machine.hardware import this_machine
from nearlight.machine.probe import read_now

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, and how much of it."""


@dataclass(frozen=True)
class Options:
    """How to measure. `chunk` counts the rows of a prefill step, None looks for the best; `peers` are names, whose
    models may be named in `peer_models`."""

    repetitions: int = 5
    threads: int | None = None
    chunk: int | None = CHUNK_ROWS
    calibrated: bool = True
    explained: bool = False
    peers: Sequence[str] = ()
    peer_models: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.repetitions < 1:
            raise RequestError("repetitions", expected="at least 1", found=self.repetitions)
        if self.chunk is not None and self.chunk < 1:
            raise RequestError("chunk", expected="at least 1 row", found=self.chunk)


@dataclass(frozen=True)
class Session:
    """The rows of a model, on which machine, and in how much memory."""

    rows: Sequence[Row]
    hardware: Hardware
    memory: Memory | None


def measure(
    description: Description, workloads: Sequence[Workload], options: Options, progress: Progress | None = None
) -> Session:
    """Measure a model. Raises: RequestError for a context that the model has no room for."""
    say = progress or (lambda what, done, total: None)
    ops = CpuOps(options.threads)
    chunk = options.chunk or CHUNK_ROWS
    counted = description.counted(cpu_target(ops.isa))
    _check_contexts(workloads, counted.max_positions)
    say("probing this machine", 0, 1)
    hardware = this_machine(ops.threads)
    source = Forecast(counted, hardware).reads_from
    watch = Watch(lambda: read_now(ops.threads, source))
    release()  # an earlier model
    memory = predict(counted, workloads, chunk)

    def calibrated(forecast: Forecast) -> Forecast:
        """Calibrate in the state that the machine is in, if that was not done yet."""
        if not options.calibrated or (forecast.calibrations and forecast.knows(watch.probe())):
            return forecast
        say("calibrating on the first layers", 0, 1)
        calibration = calibrate(description, watch, ops.threads, chunk)
        return replace(forecast, calibrations=[*forecast.calibrations, calibration])

    forecast = calibrated(Forecast(counted, hardware))
    predictions = forecast.store(workloads, [options.chunk] if options.chunk else CHUNKS, watch.probe())
    engine = description.engine(ops.threads, lambda done, total: say(f"loading {description.name}", done, total))
    release()  # what loading needed for a moment
    own = OwnEngine(engine, description.weights, chunk)
    context = max(workload.context for workload in workloads)
    arena = Arena(description, ops.threads, context, engine.model.vocab_size, options.peer_models)
    with ExitStack() as stack:
        stack.callback(own.close)
        if options.peers:
            say("loading " + ", ".join(options.peers), 0, 1)
        peers = stack.enter_context(started(options.peers, arena))
        bench = Bench(setting_of(description, engine, counted), forecast, predictions, own, watch, peers)
        rows: list[Row] = []
        for done, workload in enumerate(workloads):
            bench.forecast = calibrated(bench.forecast)
            say(f"measuring {workload.name}", done, len(workloads))
            if options.chunk is None and workload.n_prompt:
                bench.choose_chunk(workload)
            measured = bench.run(workload, options.repetitions)
            if options.explained:
                measured[0] = replace(measured[0], step=explain_step(bench, workload))
            rows += measured
        if memory is not None:
            memory = replace(memory, measured=own_bytes())
    return Session(rows, hardware, memory)


def explain_step(bench: Bench, workload: Workload) -> Explanation:
    """Account for a step of a workload: the prompt's first, or a generation's middle one."""
    engine: Engine = bench.own.engine
    n_rows = min(workload.n_prompt, bench.own.chunk) or 1
    depth = workload.n_depth + workload.n_gen // 2
    found = bench.watch.steadily(lambda: profile_engine(engine, bench.forecast.counted, n_rows=n_rows, depth=depth))
    name = f"one step of {workload.name}"
    sampling_s = sampling_seconds(engine.model.vocab_size) if workload.n_gen else 0.0
    return explain(name, n_rows, found.values[0], bench.forecast.in_state(found.read_bytes_per_s), sampling_s)


def _check_contexts(workloads: Sequence[Workload], most: int) -> None:
    for workload in workloads:
        if workload.context > most:
            raise RequestError(
                workload.name, expected=f"at most {most} tokens, the model's context", found=workload.context
            )
