"""Makes plans: counts the model, holds the costs against the machine, and looks for what would fit if it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nearlight.counting.counted_model import CountedModel
from nearlight.engine.engine import STEP_ROWS
from nearlight.kernels.count import ACCELERATOR, cpu_target
from nearlight.limits.convention import BlogCosts
from nearlight.limits.hardware import Hardware, find_hardware
from nearlight.limits.roofline import decode_line, inflection, largest_context, step_time, steps_time
from nearlight.models import why_not_run
from nearlight.models.catalogue import CatalogueEntry
from nearlight.package import Package
from nearlight.plan.advice import advise
from nearlight.plan.blog import blog_costs
from nearlight.plan.memory import overhead_bytes
from nearlight.plan.options import WEIGHTS, Options
from nearlight.plan.plan import DecodePoint, Fit, Memory, Plan, Prefill
from nearlight.plan.subject import Subject, subject_of
from nearlight.state.kv_format import kv_name

ACCELERATOR_STEP_ROWS = 2048
"""Rows of a prefill step on an accelerator: well above any inflection point, with bounded room for activations."""

_DECODE_CONTEXTS = (0, 1024, 4096, 16384, 32768, 65536, 131072)
_ANY_CONTEXT = 1 << 40
_MOST_ROWS = 1 << 14


def make_plan(
    model: str | Path | Package | CatalogueEntry | Subject,
    hardware: Hardware | str,
    *,
    weights: str | None = None,
    kv: str | None = None,
    prompt: int | None = None,
    after: int = 0,
    context: int | None = None,
    convention: str = "physical",
    available_bytes: float | None = None,
    available_is: str = "",
    isa: str = "avx512",
    advice: bool = True,
) -> Plan:
    """Plan a model (a package, its path, or a catalogue name) on a machine (a row, or its short name).

    `weights` None keeps a package's own bits; for a catalogue name it is what the model is published in, mostly bf16.
    `isa` is the instruction level of this engine's kernels, for machines of the kind "cpu". With `advice`, a plan that
    does not fit says what would.
    Units: `prompt`, `after` (what follows the prompt) and `context` count tokens; `available_bytes` None is all of the
    machine's memory, else `available_is` says what they are ("free of …").
    Raises: RequestError, UnsupportedError and PackageError, one line each.
    """
    machine = find_hardware(hardware) if isinstance(hardware, str) else hardware
    options = Options.of(weights, kv, n_prompt=prompt, n_after=after, context=context, convention=convention)
    planner = Planner(machine, available_bytes or machine.memory_bytes, isa, available_is)
    subject = subject_of(model)
    plan = planner.plan(subject, options)
    if plan.fits or not advice:
        return plan
    return replace(plan, advice=tuple(advise(planner.fit, subject, options, plan)))


def compare_weights(
    model: str | Path | Package | CatalogueEntry | Subject, hardware: Hardware | str, **options: object
) -> list[Plan]:
    """Plan a model in each of the weights' formats; the options are those of `make_plan`."""
    subject = subject_of(model)
    return [make_plan(subject, hardware, **{**options, "weights": name, "advice": False}) for name in WEIGHTS]  # type: ignore[arg-type]


class Planner:
    """Plans for one machine. Units: `available_bytes` is the memory that may be used; `available_is` says which."""

    def __init__(self, hardware: Hardware, available_bytes: float, isa: str, available_is: str = "") -> None:
        self.hardware = hardware
        self.available_bytes = available_bytes
        self.available_is = available_is
        self.target = ACCELERATOR if hardware.kind == "gpu" else cpu_target(isa)
        self.chunk = ACCELERATOR_STEP_ROWS if hardware.kind == "gpu" else STEP_ROWS

    def fit(self, subject: Subject, options: Options) -> Fit:
        """Say what of a model fits, without asking how fast it is."""
        return self._fit(self._counted(subject, options), options)

    def plan(self, subject: Subject, options: Options) -> Plan:
        """Plan without advice."""
        counted = self._counted(subject, options)
        fit = self._fit(counted, options)
        blog = options.convention == "blog"
        hardware = self.hardware.in_binary_units() if blog else self.hardware
        return Plan(
            model=subject.name,
            weights=options.blog_weights if blog else options.weights or subject.own_weights,
            kv=options.blog_kv if blog else kv_name(counted.kv_format),
            convention=options.convention,
            hardware=hardware,
            costs=fit.costs,
            params=counted.parameters,
            kv_bytes_per_token=fit.kv_bytes_per_token,
            context=fit.context,
            chunk=None if blog else self.chunk,
            memory=fit.memory,
            max_context=fit.max_context,
            prefill=self._prefill(fit, options, hardware),
            decode=_decode(fit, hardware),
            decode_line=decode_line(fit.costs, hardware) if fit.max_context or blog else None,
            obstacle=why_not_run(str(subject.config["model_type"])) or _why_not_on(self.hardware),
        )

    def _counted(self, subject: Subject, options: Options) -> CountedModel:
        return subject.counted(options.weights, options.kv_format, self.target)

    def _fit(self, counted: CountedModel, options: Options) -> Fit:
        context = options.context_for(counted.max_positions)
        if options.convention == "blog":
            costs = blog_costs(counted, options)
            memory = self._memory(costs.weight_bytes, costs.kv_bytes(context), 0)
            longest = largest_context(costs.kv_bytes, memory.room, _ANY_CONTEXT)
            return Fit(costs, context, memory, longest, costs.kv_token_bytes)
        overhead = overhead_bytes(counted, self.hardware, min(self.chunk, context))
        memory = self._memory(counted.weight_bytes, counted.kv_bytes(context), overhead)
        memory = replace(memory, in_file=counted.file_bytes, in_file_per_token=counted.decode(0).file_bytes)
        longest = largest_context(counted.kv_bytes, memory.room, counted.max_positions)
        return Fit(counted, context, memory, longest, counted.kv_bytes_per_token)

    def _memory(self, weights: float, kv: float, overhead: float) -> Memory:
        return Memory(weights, kv, overhead, self.available_bytes, self.available_is)

    def _prefill(self, fit: Fit, options: Options, hardware: Hardware) -> Prefill | None:
        """Time the prompt. The post's tables give times even for what does not fit; else there are none."""
        n_prompt, costs = options.prompt_for(fit.context), fit.costs
        if isinstance(costs, BlogCosts):
            time = steps_time(costs.prefill(n_prompt), hardware)
            exact, rough = costs.inflection(hardware), costs.rough_inflection(hardware)
            return Prefill(n_prompt, time.read_s, time.compute_s, time.total_s, time.bound, exact, rough)
        if n_prompt > fit.max_context:
            return None
        time = steps_time(costs.prefill(n_prompt, self.chunk), hardware)
        rows = inflection(lambda n_rows: costs.prefill(n_rows)[0], hardware, most=_MOST_ROWS)
        return Prefill(n_prompt, time.read_s, time.compute_s, time.total_s, time.bound, rows)


def _why_not_on(hardware: Hardware) -> str | None:
    """Say in one sentence why nothing runs on a machine yet; None if nearlight has kernels for it."""
    return "nearlight does not run on GPUs yet, only on CPUs" if hardware.kind == "gpu" else None


def _decode(fit: Fit, hardware: Hardware) -> tuple[DecodePoint, ...]:
    """Give decode speed at usual contexts, the planned one and the largest, as far as they fit."""
    contexts = sorted({c for c in (*_DECODE_CONTEXTS, fit.context, fit.max_context) if c <= fit.max_context})
    points = []
    for context in contexts if fit.max_context else ():
        time = step_time(fit.costs.decode(min(context, fit.max_context - 1)), hardware)
        points.append(DecodePoint(context, time.total_s, 1 / time.total_s, time.bound))
    return tuple(points)
