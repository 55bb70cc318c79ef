"""The kernel set that adds up: weights and states are only shapes and formats, and ops add their cost to the step's."""

from __future__ import annotations

from nearlight.kernels.count.cost import OpCost, StepCost
from nearlight.kernels.count.ops import CountOps
from nearlight.kernels.count.target import ACCELERATOR, CPU_TARGETS, Target, cpu_target

__all__ = ["ACCELERATOR", "CPU_TARGETS", "CountOps", "OpCost", "StepCost", "Target", "cpu_target"]
