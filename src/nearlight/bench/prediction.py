"""Says what to expect of a workload: what it costs, the limit on this machine, and the speed that is predicted.

A prediction is stored before the model is loaded, and stays as it was. What it would have been, had the machine's state
during the run been known, is the adjusted one: the same arithmetic for another bandwidth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from nearlight.bench.calibration import Calibration
from nearlight.bench.runner import Workload
from nearlight.counting.counted_model import CountedModel
from nearlight.kernels.count import StepCost
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import steps_time
from nearlight.machine.bandwidth_states import same_state

MOST_COUNTED_STEPS = 32
"""Steps of a generation that are counted one by one; of more, as many are, evenly spread."""


@dataclass(frozen=True)
class Prediction:
    """What a workload costs, and how long it should take.

    Units: bytes, operations and seconds of the whole workload; `read_bytes_per_s` is the bandwidth it was held against,
    `limit_of` "memory" or the processor's "cache".
    `bound` is "bandwidth" or "compute"; `label` says what the prediction rests on: "calibrated" kernels, "measured"
    ceilings, "estimated" ones, or nothing ("unsupported").
    """

    weight_bytes: float
    kv_bytes: float
    operations: float
    limit_s: float
    predicted_s: float
    bound: str
    label: str
    read_bytes_per_s: float
    limit_of: str = "memory"

    @property
    def total_bytes(self) -> float:
        return self.weight_bytes + self.kv_bytes


Predictions: TypeAlias = Mapping[tuple[Workload, int], Prediction]
"""What was predicted of each workload, in chunks of so many rows (0 for a generation)."""


@dataclass(frozen=True)
class Predictor:
    """Predicts for a model on a machine, from figures that no run of the model can reach.

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

    def predict(self, workload: Workload, chunk: int, read_bytes_per_s: float | None = None) -> Prediction:
        """Count a workload and time it, at the limit and as calibrated, in the state with this read bandwidth (None:
        that of the hardware).

        Without a calibration the limit itself is predicted.
        """
        hardware = self.in_state(read_bytes_per_s)
        steps, scale = steps_of(self.counted, workload, chunk)
        limit = steps_time(steps, hardware)
        state = hardware.bandwidth(self.reads_from)
        calibration = self._calibration(state)
        predicted_s = calibration.seconds(steps, state) if calibration else limit.total_s
        step_bytes = sum(step.bytes_read + step.bytes_written for step in steps) / len(steps)
        return Prediction(
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

    def predict_all(self, workloads: Iterable[Workload], chunks: Iterable[int], read_bytes_per_s: float) -> Predictions:
        """Predict workloads in the state with this bandwidth, prompts in each of these chunks."""
        return {
            (workload, rows): self.predict(workload, rows, read_bytes_per_s)
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
