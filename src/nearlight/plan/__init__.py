"""Planning: will a model fit on a machine, how fast can it be there at most, and what to change if it does not fit."""

from __future__ import annotations

from nearlight.plan.plan import DecodePoint, Memory, Plan, Prefill
from nearlight.plan.planner import compare_weights, make_plan
from nearlight.plan.subject import Subject, subject_of

__all__ = ["DecodePoint", "Memory", "Plan", "Prefill", "Subject", "compare_weights", "make_plan", "subject_of"]
