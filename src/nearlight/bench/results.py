"""Rows of results: what was measured, what was predicted, what is possible, and how they compare.

The keys of a row's JSON are llama-bench's where it has them; docs/measuring.md explains all. They are flat and numeric,
so that a table, a ledger and a picture can be made of the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import mean, median, stdev
from typing import Any

from nearlight.bench.memory import Memory
from nearlight.bench.model import Setting
from nearlight.bench.prediction import Prediction
from nearlight.bench.profile import Explanation
from nearlight.bench.runner import Workload
from nearlight.limits.hardware import Hardware
from nearlight.limits.run import IMPRECISION

NANO = 1e9


@dataclass(frozen=True)
class Row:
    """A workload's result. Units: tokens per second (`_ts`), nanoseconds (`_ns`), bytes per second.

    Neither tokenization nor sampling is inside any figure. Fields that only this engine's rows can have are None in
    those of peers. `prediction` was stored before the run; `adjusted` is for the state that the machine was then in:
    the limit there, and what would have been predicted for it. `unsteady` says why the samples are not all of one state
    of the machine; `discarded` what disturbed those that were measured again. `speedup` is this engine's speed over the
    peer's; `step` takes a step apart if that was asked for.
    """

    engine: str
    setting: Setting
    workload: Workload
    chunk: int | None
    samples_ns: Sequence[int]
    prediction: Prediction | None
    adjusted: Prediction | None
    unsteady: str | None = None
    discarded: Sequence[str] = ()
    speedup: float | None = None
    step: Explanation | None = None

    def beside(self, peer: str, weights: str, samples_ns: Sequence[int]) -> Row:
        """Return the row of a peer that did the same workload, in the weights that it has."""
        setting = replace(self.setting, weights=weights, isa="")
        row = replace(
            self,
            engine=peer,
            setting=setting,
            chunk=None,
            samples_ns=samples_ns,
            prediction=None,
            adjusted=None,
            step=None,
        )
        return replace(row, speedup=self.avg_ts / row.avg_ts)

    # -- measured --------------------------------------------------------------------------------------------------

    @property
    def samples_ts(self) -> list[float]:
        return [NANO * self.workload.n_tokens / sample for sample in self.samples_ns]

    @property
    def avg_ts(self) -> float:
        return mean(self.samples_ts)

    @property
    def median_ts(self) -> float:
        return median(self.samples_ts)

    @property
    def stddev_ts(self) -> float:
        return stdev(self.samples_ts) if len(self.samples_ns) > 1 else 0.0

    @property
    def bytes_per_s(self) -> float | None:
        """Bytes of weights, keys and values that were moved per second."""
        return self.adjusted.total_bytes / self._avg_s if self.adjusted else None

    @property
    def flops_per_s(self) -> float | None:
        return self.adjusted.operations / self._avg_s if self.adjusted else None

    # -- against what is possible, and what was predicted ----------------------------------------------------------

    @property
    def limit_ts(self) -> float | None:
        return self.workload.n_tokens / self.adjusted.limit_s if self.adjusted else None

    @property
    def predicted_ts(self) -> float | None:
        """The speed that was predicted before the run, as it was stored."""
        return self.workload.n_tokens / self.prediction.predicted_s if self.prediction else None

    @property
    def adjusted_ts(self) -> float | None:
        """What would have been predicted for the state that the machine was in during the run."""
        return self.workload.n_tokens / self.adjusted.predicted_s if self.adjusted else None

    @property
    def share_of_limit(self) -> float | None:
        return self.avg_ts / self.limit_ts if self.limit_ts else None

    @property
    def ratio(self) -> float | None:
        """Measured over predicted speed."""
        return self.avg_ts / self.predicted_ts if self.predicted_ts else None

    @property
    def why_over_limit(self) -> str | None:
        """Why a share is above 100 %, where it is."""
        if self.share_of_limit is None or self.share_of_limit <= IMPRECISION or self.adjusted is None:
            return None
        if self.unsteady:
            return "over 100 %: the machine changed while it was measured, so its limit is uncertain"
        if self.adjusted.bound == "bandwidth":
            return "over 100 %: reading was faster during the run than in the probes before and after it"
        return "over 100 %: the peaks were probed while something slowed the machine; `nearlight roofline --fresh`"

    @property
    def _avg_s(self) -> float:
        return mean(self.samples_ns) / NANO

    def as_json(self) -> dict[str, Any]:
        """Build the object of `bench --json`. Keys may be added and are never taken away."""
        adjusted = self.adjusted
        return {
            "engine": self.engine,
            **asdict(self.setting),
            "test": self.workload.name,
            "n_prompt": self.workload.n_prompt,
            "n_gen": self.workload.n_gen,
            "n_depth": self.workload.n_depth,
            "n_ubatch": self.chunk,
            "avg_ns": mean(self.samples_ns),
            "stddev_ns": stdev(self.samples_ns) if len(self.samples_ns) > 1 else 0.0,
            "samples_ns": list(self.samples_ns),
            "avg_ts": self.avg_ts,
            "median_ts": self.median_ts,
            "stddev_ts": self.stddev_ts,
            "samples_ts": self.samples_ts,
            "bytes": adjusted
            and {"weights": adjusted.weight_bytes, "kv": adjusted.kv_bytes, "total": adjusted.total_bytes},
            "bytes_per_s": self.bytes_per_s,
            "flops": adjusted and adjusted.operations,
            "flops_per_s": self.flops_per_s,
            "read_bytes_per_s": adjusted and adjusted.read_bytes_per_s,
            "limit_ts": self.limit_ts,
            "limit_of": adjusted and adjusted.limit_of,
            "share_of_limit": self.share_of_limit,
            "predicted_ts": self.predicted_ts,
            "predicted_read_bytes_per_s": self.prediction and self.prediction.read_bytes_per_s,
            "adjusted_ts": self.adjusted_ts,
            "ratio": self.ratio,
            "bound": adjusted and adjusted.bound,
            "label": self.prediction.label if self.prediction else "unsupported",
            "speedup": self.speedup,
            "unsteady": self.unsteady is not None,
            "unsteady_because": self.unsteady,
            "discarded": list(self.discarded),
            "explanation": self.why_over_limit,
            "step": self.step and self.step.as_json(),
            "includes_tokenization": False,
            "includes_sampling": False,
        }


@dataclass(frozen=True)
class BenchResult:
    """The rows of a model, on which machine, and in how much memory."""

    rows: Sequence[Row]
    hardware: Hardware
    memory: Memory | None
