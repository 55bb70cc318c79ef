"""The processor's last caches: which models are read from there, and not from memory.

Every step reads the same weights again, in the same order. What fits into the caches is read from memory once and from
the caches ever after, several times as fast, so it has another limit. Size alone decides, here and nowhere else: the
bytes that a step reads against the bytes that the caches hold.

A step that is a little larger is in between, and falls off steeply. Were the oldest bytes pushed out first, none would
be left when its turn comes again; caches do not follow that order strictly, and what takes a place at random leaves a
part behind. With s the step's size over the caches', a byte that was read meets (1 - h) s replacements a cache's worth
before it is wanted again, so the part h that is still found is h = exp(-(1 - h) s): all of it up to s = 1, 42 % at 1.5,
20 % at 2, 6 % at 3, 2 % at 4. (Measured with buffers of these sizes: 51 %, 15 to 31 %, at most 11 %, 5 %.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TRACE = 0.01
"""A part that is found less than this is none: the step is read from memory."""


@dataclass(frozen=True)
class Cache:
    """What the last caches hold, and how fast the threads in use read them. Units: bytes, bytes per second."""

    n_bytes: float
    bytes_per_s: float

    def part(self, step_bytes: float) -> float:
        """Return the part of a step's bytes that is found here when steps of this size follow one another."""
        size = step_bytes / self.n_bytes
        if size <= 1:
            return 1.0
        below, above = 0.0, 1 / size  # no order of replacement leaves more than what fits
        for _ in range(40):
            middle = (below + above) / 2
            below, above = (middle, above) if middle < math.exp((middle - 1) * size) else (below, middle)
        return above if above >= TRACE else 0.0


def reads_from(step_bytes: float, cache: Cache | None) -> str:
    """Say what limits the reading of such steps: "cache" where all of a step stays there, else "memory"."""
    return "cache" if cache and step_bytes <= cache.n_bytes else "memory"


def bytes_per_s(step_bytes: float, memory_bytes_per_s: float, cache: Cache | None) -> float:
    """Return how fast such steps can be read: what the caches hold from there, the rest from memory."""
    part = cache.part(step_bytes) if cache else 0.0
    if cache is None or part in (0.0, 1.0):
        return cache.bytes_per_s if cache and part else memory_bytes_per_s
    return 1 / (part / cache.bytes_per_s + (1 - part) / memory_bytes_per_s)
