"""The kernel set that adds up: weights and states are only shapes and formats, and ops enter costs in a ledger."""

from __future__ import annotations

from nearlight.kernels.count.ledger import Entry, Ledger
from nearlight.kernels.count.ops import CountOps
from nearlight.kernels.count.target import ACCELERATOR, CPU_TARGETS, Target, cpu_target

__all__ = ["ACCELERATOR", "CPU_TARGETS", "CountOps", "Entry", "Ledger", "Target", "cpu_target"]
