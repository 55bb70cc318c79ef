"""Measures a model from beginning to end: predict, load, run beside peers, account for the time.

The order matters: what is predicted of every workload is stored before the model is loaded, so that no measurement of
it can reach it. Where the machine is in another state by the time of a workload (`steady` tells why that happens),
calibration is repeated in that state before the workload is run; that changes what is told in hindsight
(`adjusted_ts`), and never what was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from nearlight.bench.calibration import calibrate
from nearlight.bench.memory import own_bytes, predict_memory, release
from nearlight.bench.model import ModelSpec, Setting, setting_of
from nearlight.bench.peers.process import PeerSetup, started
from nearlight.bench.prediction import Predictions, Predictor
from nearlight.bench.profile import Explanation, explain, profile_step, sampling_seconds
from nearlight.bench.results import BenchResult, Row
from nearlight.bench.runner import OwnRunner, Runner, Workload, alternate
from nearlight.bench.steady import Repeater
from nearlight.engine.engine import STEP_ROWS
from nearlight.errors import RequestError
from nearlight.kernels.count import cpu_target
from nearlight.kernels.cpu import CpuOps
from nearlight.machine.hardware import this_machine
from nearlight.machine.probe import read_now

CHUNKS = (128, 256, 512, 1024)
"""Rows of a prefill step among which the best is looked for."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, and how much of it."""


@dataclass(frozen=True)
class Options:
    """How to measure. `chunk` counts the rows of a prefill step, None looks for the best; `peers` are names, whose
    models may be named in `peer_models`."""

    repetitions: int = 5
    threads: int | None = None
    chunk: int | None = STEP_ROWS
    calibrated: bool = True
    explained: bool = False
    peers: Sequence[str] = ()
    peer_models: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.repetitions < 1:
            raise RequestError("repetitions", expected="at least 1", found=self.repetitions)
        if self.chunk is not None and self.chunk < 1:
            raise RequestError("chunk", expected="at least 1 row", found=self.chunk)


def measure(
    spec: ModelSpec, workloads: Sequence[Workload], options: Options, progress: Progress | None = None
) -> BenchResult:
    """Measure a model. Raises: RequestError for a context that the model has no room for."""
    say = progress or (lambda what, done, total: None)
    ops = CpuOps(options.threads)
    chunk = options.chunk or STEP_ROWS
    counted = spec.counted(cpu_target(ops.isa))
    _check_contexts(workloads, counted.max_positions)
    say("probing this machine", 0, 1)
    hardware = this_machine(ops.threads)
    source = Predictor(counted, hardware).reads_from
    repeater = Repeater(lambda: read_now(ops.threads, source))
    release()  # an earlier model
    memory = predict_memory(counted, workloads, chunk)

    def calibrated(predictor: Predictor) -> Predictor:
        """Calibrate in the state that the machine is in, if that was not done yet."""
        if not options.calibrated or (predictor.calibrations and predictor.knows(repeater.probe())):
            return predictor
        say("calibrating on the first layers", 0, 1)
        calibration = calibrate(spec, repeater, ops.threads, chunk)
        return replace(predictor, calibrations=[*predictor.calibrations, calibration])

    predictor = calibrated(Predictor(counted, hardware))
    predictions = predictor.predict_all(workloads, [options.chunk] if options.chunk else CHUNKS, repeater.probe())
    engine = spec.engine(ops.threads, lambda done, total: say(f"loading {spec.name}", done, total))
    release()  # what loading needed for a moment
    own = OwnRunner(engine, spec.weights, chunk)
    context = max(workload.context for workload in workloads)
    setup = PeerSetup(spec, ops.threads, context, engine.model.vocab_size, options.peer_models)
    with ExitStack() as stack:
        stack.callback(own.close)
        if options.peers:
            say("loading " + ", ".join(options.peers), 0, 1)
        peers = stack.enter_context(started(options.peers, setup))
        bench = Bench(setting_of(spec, engine, counted), predictor, predictions, own, repeater, peers)
        rows: list[Row] = []
        for done, workload in enumerate(workloads):
            bench.predictor = calibrated(bench.predictor)
            say(f"measuring {workload.name}", done, len(workloads))
            rows += bench.rows(workload, options)
        if memory is not None:
            memory = replace(memory, measured=own_bytes())
    return BenchResult(rows, hardware, memory)


def _check_contexts(workloads: Sequence[Workload], most: int) -> None:
    for workload in workloads:
        if workload.context > most:
            raise RequestError(
                workload.name, expected=f"at most {most} tokens, the model's context", found=workload.context
            )


class Bench:
    """Measures one loaded model, alone or beside peers."""

    def __init__(
        self,
        setting: Setting,
        predictor: Predictor,
        predictions: Predictions,
        own: OwnRunner,
        repeater: Repeater,
        peers: Sequence[Runner] = (),
    ) -> None:
        self.setting = setting
        self.predictor = predictor
        self.predictions = predictions
        self.own = own
        self.repeater = repeater
        self.peers = peers

    def rows(self, workload: Workload, options: Options) -> list[Row]:
        """Measure a workload as the options say."""
        if options.chunk is None and workload.n_prompt:
            self.choose_chunk(workload)
        own, *peers = self.run(workload, options.repetitions)
        return [replace(own, step=self.explain(workload)) if options.explained else own, *peers]

    def run(self, workload: Workload, repetitions: int) -> list[Row]:
        """Measure a workload; return this engine's row, then the peers'."""
        found = alternate([self.own, *self.peers], workload, repetitions, self.repeater)
        own = Row(
            engine=self.own.name,
            setting=self.setting,
            workload=workload,
            chunk=self.own.chunk if workload.n_prompt else None,
            samples_ns=[sample[self.own.name] for sample in found.values],
            prediction=self.predictions[workload, min(self.own.chunk, workload.n_prompt)],
            adjusted=self.predictor.predict(workload, self.own.chunk, found.read_bytes_per_s),
            unsteady=found.unsteady,
            discarded=found.discarded,
        )
        peers = [(peer, [sample[peer.name] for sample in found.values]) for peer in self.peers]
        return [own, *(own.beside(peer.name, peer.weights, samples) for peer, samples in peers)]

    def choose_chunk(self, workload: Workload) -> int:
        """Find the chunk that computes this prompt fastest, by one run of each, and keep it."""
        times = {}
        for chunk in sorted({min(chunk, workload.n_prompt) for chunk in CHUNKS}):
            self.own.chunk = chunk
            self.own.prepare(workload)
            times[chunk] = self.own.run()
        self.own.chunk = min(times, key=times.__getitem__)
        return self.own.chunk

    def explain(self, workload: Workload) -> Explanation:
        """Account for a step of a workload: the prompt's first, or a generation's middle one."""
        engine, counted = self.own.engine, self.predictor.counted
        n_rows = min(workload.n_prompt, self.own.chunk) or 1
        depth = workload.n_depth + workload.n_gen // 2
        found = self.repeater.repeat(lambda: profile_step(engine, counted, n_rows=n_rows, depth=depth))
        name = f"one step of {workload.name}"
        sampling_s = sampling_seconds(engine.model.vocab_size) if workload.n_gen else 0.0
        return explain(name, n_rows, found.values[0], self.predictor.in_state(found.read_bytes_per_s), sampling_s)
