"""Predicts how much memory a loaded model takes, and measures it.

Counted are weights as packed, keys and values of the longest context, and the activations of the largest step; what the
process held before (the interpreter and its libraries) is added as it was found. Measured is memory of the process's
own: pages of a mapped model file are not among it, since the system takes them back when it needs them.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nearlight.bench.runner import Workload
from nearlight.counting.counted_model import CountedModel

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Memory:
    """Units: bytes. `before` is what the process held before the model was loaded."""

    before: int
    weights: int
    kv: int
    activations: int
    measured: int | None = None

    @property
    def predicted(self) -> int:
        return self.before + self.weights + self.kv + self.activations

    def as_json(self) -> dict[str, int | None]:
        return asdict(self) | {"predicted": self.predicted}


def predict_memory(counted: CountedModel, workloads: Sequence[Workload], chunk: int) -> Memory | None:
    """Say how much memory these workloads will take, before the model is loaded; None where it cannot be measured."""
    before = own_bytes()
    if before is None:
        return None
    n_rows = max(min(workload.n_prompt, chunk) or 1 for workload in workloads)
    kv = max(counted.kv_bytes(workload.context) for workload in workloads)
    return Memory(before, counted.weight_bytes, kv, counted.activation_bytes(n_rows))


def release() -> None:
    """Let go of models that are no longer used, and give their memory back to the system.

    An engine and its program hold each other, so they only go when garbage is collected; and the C library keeps freed
    memory for itself until it is told not to. Source: malloc_trim(3).
    """
    gc.collect()
    if os.name == "posix" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def own_bytes(status: Path = _STATUS) -> int | None:
    """Return the memory that is this process's own now; None where the system does not say. Source: proc(5)."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return None
