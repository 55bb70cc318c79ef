"""Runs workloads and holds each against its limit, for the state that the machine was in, and against its prediction.

The prediction is stored before the model is loaded, and stays as it was. What it would have been, had the machine's
state during the run been known, is another figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from nearlight.bench.calibration import Calibration
from nearlight.bench.contestant import Contestant, OwnEngine, alternate
from nearlight.bench.results import Expectation, Row, Setting
from nearlight.bench.steady import Watch
from nearlight.bench.workload import Workload
from nearlight.counting.counted_model import CountedModel
from nearlight.kernels.count import StepCost
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import steps_time
from nearlight.machine.bandwidth_states import same_state

MOST_COUNTED_STEPS = 32
"""Steps of a generation that are counted one by one; of more, as many are, evenly spread."""

CHUNKS = (128, 256, 512, 1024)
"""Rows of a prefill step among which the best is looked for."""

Predictions: TypeAlias = Mapping[tuple[Workload, int], Expectation]
"""What was expected of each workload, in chunks of so many rows (0 for a generation)."""


@dataclass(frozen=True)
class Forecast:
    """Tells what to expect of a model on a machine, from figures that no run of the model can reach.

    There is a calibration for every state of the machine that was met.
    """

    counted: CountedModel
    hardware: Hardware
    calibrations: Sequence[Calibration] = ()

    @property
    def reads_from(self) -> str:
        """From where the model's weights are read, "memory" or "cache": its bandwidth is the machine's state."""
        step = self.counted.decode(0)
        return self.hardware.reads_from(step.bytes_read + step.bytes_written)

    def of(self, workload: Workload, chunk: int, read_bytes_per_s: float | None = None) -> Expectation:
        """Count a workload and time it, at the limit and as predicted, in the state with this read bandwidth (None:
        that of the hardware).

        Without a calibration the prediction is the limit itself.
        """
        hardware = self.in_state(read_bytes_per_s)
        steps, scale = steps_of(self.counted, workload, chunk)
        limit = steps_time(steps, hardware)
        state = hardware.bandwidth(self.reads_from)
        calibration = self._calibration(state)
        predicted_s = calibration.seconds(steps, state) if calibration else limit.total_s
        step_bytes = sum(step.bytes_read + step.bytes_written for step in steps) / len(steps)
        return Expectation(
            weight_bytes=scale * sum(step.weight_bytes for step in steps),
            kv_bytes=scale * sum(step.kv_read_bytes + step.bytes_written for step in steps),
            operations=scale * sum(sum(step.operations.values()) for step in steps),
            limit_s=scale * limit.total_s,
            predicted_s=scale * predicted_s,
            bound=limit.bound,
            label="calibrated" if calibration else hardware.label,
            read_bytes_per_s=hardware.read_bytes_per_s(step_bytes),
            limit_of=hardware.reads_from(step_bytes),
        )

    def store(self, workloads: Iterable[Workload], chunks: Iterable[int], read_bytes_per_s: float) -> Predictions:
        """Say what to expect of workloads in the state with this bandwidth, of prompts in each of these chunks."""
        return {
            (workload, rows): self.of(workload, rows, read_bytes_per_s)
            for workload in workloads
            for rows in ({min(chunk, workload.n_prompt) for chunk in chunks} if workload.n_prompt else {0})
        }

    def in_state(self, read_bytes_per_s: float | None) -> Hardware:
        """Return the machine as it is in a state."""
        return self.hardware.at(self.reads_from, read_bytes_per_s) if read_bytes_per_s else self.hardware

    def knows(self, read_bytes_per_s: float) -> bool:
        """Whether there is a calibration of this state."""
        return any(same_state(one.read_bytes_per_s, read_bytes_per_s) for one in self.calibrations)

    def _calibration(self, read_bytes_per_s: float) -> Calibration | None:
        """Return the calibration of the nearest state."""

        def distance(one: Calibration) -> float:
            return abs(one.read_bytes_per_s - read_bytes_per_s)

        return min(self.calibrations, key=distance, default=None)


def steps_of(counted: CountedModel, workload: Workload, chunk: int) -> tuple[list[StepCost], float]:
    """Return the steps of a workload and by how much to multiply their sums.

    A step's cost is a line in its position (broken where a window is full), so evenly spread steps stand for all.
    """
    if workload.n_prompt:
        return counted.prefill(workload.n_prompt, chunk, workload.n_depth), 1.0
    n_counted = min(workload.n_gen, MOST_COUNTED_STEPS)
    last = workload.n_depth + workload.n_gen - 1
    contexts = np.linspace(workload.n_depth, last, n_counted).round().astype(int).tolist()
    return [counted.decode(context) for context in contexts], workload.n_gen / n_counted


class Bench:
    """Measures one loaded model, alone or beside peers."""

    def __init__(
        self,
        setting: Setting,
        forecast: Forecast,
        predictions: Predictions,
        own: OwnEngine,
        watch: Watch,
        peers: Sequence[Contestant] = (),
    ) -> None:
        self.setting = setting
        self.forecast = forecast
        self.predictions = predictions
        self.own = own
        self.watch = watch
        self.peers = peers

    def run(self, workload: Workload, repetitions: int) -> list[Row]:
        """Measure a workload; return this engine's row, then the peers'."""
        found = alternate([self.own, *self.peers], workload, repetitions, self.watch)
        own = Row(
            engine=self.own.name,
            setting=self.setting,
            workload=workload,
            chunk=self.own.chunk if workload.n_prompt else None,
            samples_ns=[sample[self.own.name] for sample in found.values],
            prediction=self.predictions[workload, min(self.own.chunk, workload.n_prompt)],
            expectation=self.forecast.of(workload, self.own.chunk, found.read_bytes_per_s),
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
