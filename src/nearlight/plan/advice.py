"""What to change when a model does not fit, the least first.

Fewer bits, a smaller KV cache, a shorter context; the last two together with fewer bits; else a smaller model, rather a
large one in few bits than a small one in many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TypeAlias

from nearlight.errors import RequestError
from nearlight.models.catalogue import CatalogueEntry, catalogue, series_of
from nearlight.plan.options import WEIGHTS, Options
from nearlight.plan.plan import Fit, Plan
from nearlight.plan.subject import Subject
from nearlight.quantities import memory_text

FitOf: TypeAlias = Callable[[Subject, Options], Fit]

_LEAST_CONTEXT = 256
"""A shorter context than this is not worth proposing."""


def advise(fit_of: FitOf, subject: Subject, options: Options, plan: Plan) -> Iterator[str]:
    """Yield changes, as flags or a model's name; with any one of them the plan fits."""
    found = [*_fewer_bits(fit_of, subject, options, plan), *_smaller_cache(fit_of, subject, options, plan)]
    yield from found
    if plan.max_context >= _LEAST_CONTEXT:
        yield f"--context {plan.max_context}: the longest that fits as it is"
    if not found:
        yield from _both(fit_of, subject, options, plan)
    yield from _smaller_model(fit_of, subject, options, plan)


def _fewer_bits(fit_of: FitOf, subject: Subject, options: Options, plan: Plan) -> Iterator[str]:
    before = plan.memory.weights
    for weights in WEIGHTS[1:]:
        after = fit_of(subject, replace(options, weights=weights)).memory
        if after.fits and after.weights < before:
            sizes = f"{memory_text(after.weights, 3)} instead of {memory_text(before, 3)}"
            yield f"--weights {weights}: weights take {sizes}"
            return


def _smaller_cache(fit_of: FitOf, subject: Subject, options: Options, plan: Plan) -> Iterator[str]:
    if options.kv != "q8":
        after = fit_of(subject, replace(options, kv="q8")).memory
        if after.fits:
            yield f"--kv q8: the KV cache takes {memory_text(after.kv, 3)} instead of {memory_text(plan.memory.kv, 3)}"


def _both(fit_of: FitOf, subject: Subject, options: Options, plan: Plan) -> Iterator[str]:
    """With the fewest bits, does a smaller cache or a shorter context make it fit?"""
    fewest = WEIGHTS[-1]
    if fit_of(subject, replace(options, weights=fewest, kv="q8")).memory.fits:
        yield f"--weights {fewest} --kv q8"
        return
    longest = fit_of(subject, replace(options, weights=fewest)).max_context
    if longest >= max(_LEAST_CONTEXT, plan.max_context + 1):
        yield f"--weights {fewest} --context {longest}"


def _smaller_model(fit_of: FitOf, subject: Subject, options: Options, plan: Plan) -> Iterator[str]:
    """Name the largest catalogue model below this one that fits, of the same series if there is one.

    Models that nearlight runs come first; where the series has none that fits, one of another series is named too.
    """
    series = series_of(subject.entry.short if subject.entry else subject.name)
    entries = sorted(
        _smaller_entries(plan),
        key=lambda entry: (entry.series != series, entry.why_not_run is not None, -(entry.n_parameters or 0)),
    )
    proposals = ((entry, text) for entry in entries if (text := _proposal(fit_of, entry, options)))
    for entry, text in islice(proposals, 1):
        yield text
        if entry.why_not_run:
            yield from islice((text for other, text in proposals if other.why_not_run is None), 1)


def _proposal(fit_of: FitOf, entry: CatalogueEntry, options: Options) -> str | None:
    """Propose a model as it is published, else in the most bits with which it fits; None if it fits with none."""
    for weights in (None, *WEIGHTS[1:]):
        try:
            memory = fit_of(Subject(entry.name, entry.config, entry=entry), replace(options, weights=weights)).memory
        except RequestError:  # it has not as many positions
            return None
        if memory.fits:
            flag = f" --weights {weights}" if weights else ""
            note = "; nearlight cannot run it yet" if entry.why_not_run else ""
            return f"{entry.short}{flag}: a smaller model, whose weights take {memory_text(memory.weights, 3)}{note}"
    return None


def _smaller_entries(plan: Plan) -> list[CatalogueEntry]:
    """Return the models that can be planned, smaller than this one, and that may fit at 4 bits a parameter."""
    most = min(plan.params.total, 2 * plan.memory.available)
    return [entry for entry in catalogue().values() if entry.supported and (entry.n_parameters or 0) < most]
