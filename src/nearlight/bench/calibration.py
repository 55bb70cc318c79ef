"""Predicts how long a model will take, from how long its kernels take on its first layers.

A limit says how fast a step could be if every op reached a ceiling of the machine. A prediction says how fast it will
be, so it needs what each kernel reaches on its matrices; and all layers being alike, a few of them with random weights
tell. Two steps of such a slice are profiled, one token at a depth and one chunk of a prompt, and give every op two
rates: seconds per byte while it waits for memory, seconds per operation while it multiplies. An op of any other step
then takes the longer of the two, as in a roofline, but with rates that were reached instead of ceilings. The rates are
those of the machine's state while they were taken, so what waits for memory is told relative to that state's bandwidth.

The slice is large enough not to stay in the processor's cache, unless the whole model does too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nearlight.bench.memory import release
from nearlight.bench.model import ModelSpec, target_of
from nearlight.bench.profile import Profile, profile_step, role_of
from nearlight.bench.steady import Repeater
from nearlight.counting.counted_model import CountedModel
from nearlight.engine.engine import STEP_ROWS, Engine
from nearlight.kernels.count import ACCELERATOR, OpCost, StepCost
from nearlight.machine.probe import CACHES
from nearlight.machine.processor import last_cache_bytes

DEPTH = 1024
LEAST_LAYERS = 2
_LAYER_KEYS = ("num_hidden_layers", "n_layer")
_LAST_LAYERS = ("num_kv_shared_layers",)
"""How many of the last layers are special: the first ones have none of them."""
_DECODE_REPETITIONS, _PREFILL_REPETITIONS = 15, 4


@dataclass(frozen=True)
class Rate:
    """What an op takes for every unit of its memory work, and of its compute work. Units: seconds."""

    per_memory: float
    per_compute: float

    def seconds(self, op: OpCost, slowdown: float = 1.0) -> float:
        """Predict the time of an op where memory is so many times as slow as it was."""
        per_memory = self.per_memory * (slowdown if reads_memory(op) else 1.0)
        return max(per_memory * memory_work(op), self.per_compute * compute_work(op))


@dataclass(frozen=True)
class Calibration:
    """Rates by role of an op, and what every step takes besides. Units: seconds; `read_bytes_per_s` is the bandwidth
    that held while they were taken."""

    rates: Mapping[str, Rate]
    around_s: float
    read_bytes_per_s: float

    def seconds(self, steps: Iterable[StepCost], read_bytes_per_s: float | None = None) -> float:
        """Predict the time of steps one after the other, in the state with this bandwidth (None: the same)."""
        slowdown = self.read_bytes_per_s / (read_bytes_per_s or self.read_bytes_per_s)
        return sum(self.around_s + sum(self.rates[role_of(op)].seconds(op, slowdown) for op in step) for step in steps)


def calibrate(spec: ModelSpec, repeater: Repeater, threads: int | None = None, chunk: int = STEP_ROWS) -> Calibration:
    """Profile a slice of a model on this machine as it is now. Units: `chunk` counts the rows of a prefill step."""
    calibration = _of_slice(slice_of(spec), repeater, threads, chunk)
    release()  # so that the slice does not stay beside the whole model
    return calibration


def slice_of(spec: ModelSpec) -> ModelSpec:
    """Return a model's first layers with random weights: as few as do not fit into the last caches, at least two."""
    key = next((key for key in _LAYER_KEYS if key in spec.config), None)
    if key is None:
        return replace(spec, package=None)
    n_layers = spec.config[key]

    def cut(n: int) -> ModelSpec:
        return replace(spec, config={**_of_first_layers(spec.config, n, n_layers), key: n}, package=None)

    two, three = (cut(n).counted(ACCELERATOR).weight_bytes for n in (LEAST_LAYERS, LEAST_LAYERS + 1))
    missing = CACHES * last_cache_bytes() - two
    return cut(min(LEAST_LAYERS + max(-(-missing // (three - two)), 0), n_layers))


def _of_first_layers(config: Mapping[str, Any], n: int, n_layers: int) -> dict[str, Any]:
    """Cut what a config says layer by layer: lists as long as there are layers, and objects by their numbers."""
    first = dict(config) | {key: 0 for key in _LAST_LAYERS if key in config}
    for key, value in config.items():
        if isinstance(value, list | tuple) and len(value) == n_layers:
            first[key] = value[:n]
        elif isinstance(value, Mapping) and value and all(isinstance(name, str) and name.isdecimal() for name in value):
            first[key] = {name: own for name, own in value.items() if int(name) < n}
    return first


def _of_slice(slice: ModelSpec, repeater: Repeater, threads: int | None, chunk: int) -> Calibration:
    engine = slice.engine(threads)
    counted = slice.counted(target_of(engine))
    found = repeater.repeat(lambda: _profiles(engine, counted, chunk))
    return from_profiles(*found.values[0], found.read_bytes_per_s)


def _profiles(engine: Engine, counted: CountedModel, chunk: int) -> tuple[Profile, Profile]:
    depth, chunk = min(DEPTH, engine.context - 1), min(chunk, engine.context)
    decode = profile_step(engine, counted, n_rows=1, depth=depth, repetitions=_DECODE_REPETITIONS)
    prefill = profile_step(engine, counted, n_rows=chunk, repetitions=_PREFILL_REPETITIONS)
    return decode, prefill


def from_profiles(decode: Profile, prefill: Profile, read_bytes_per_s: float) -> Calibration:
    """Take rates from a step of one row, which waits for memory, and one of many, which multiplies.

    Time at barriers belongs to the ops. Between those of one row it is about the same after each; between those of many
    it is the threads' uneven parts, which grow with the op.
    """
    waiting = decode.waiting_s / max(len(decode.ops), 1)
    uneven = 1 + prefill.waiting_s / max(sum(op.seconds for op in prefill.ops), 1e-9)
    memory, compute = _by_role(decode), _by_role(prefill)
    rates = {
        role: Rate(
            (memory[role].seconds + waiting * memory[role].n_ops) / memory[role].memory,
            compute[role].seconds * uneven / compute[role].compute,
        )
        for role in memory
    }
    return Calibration(rates, decode.around_s, read_bytes_per_s)


def reads_memory(op: OpCost) -> bool:
    """Whether an op reads more than what is in the cache anyway."""
    return op.kind in ("linear", "attend")


def memory_work(op: OpCost) -> float:
    """Return the bytes that an op reads from memory, or 1 where it finds all it needs in the cache: then a call is a
    call, however few rows."""
    return op.bytes_read if reads_memory(op) else 1


def compute_work(op: OpCost) -> float:
    """Return the operations of an op; the bytes it moves where it has none."""
    return sum(op.operations.values()) or op.activation_bytes


@dataclass
class _Sums:
    n_ops: int = 0
    seconds: float = 0
    memory: float = 0
    compute: float = 0


def _by_role(profile: Profile) -> dict[str, _Sums]:
    """Add ops up by role; quantizing activations belongs to the product that it is recorded for."""
    sums: dict[str, _Sums] = defaultdict(_Sums)
    quantizing = 0.0
    for op in profile.ops:
        quantizing += op.seconds
        if op.cost is not None:
            role = sums[op.role]
            role.n_ops += 1
            role.seconds += quantizing
            role.memory += memory_work(op.cost)
            role.compute += compute_work(op.cost)
            quantizing = 0.0
    return sums
