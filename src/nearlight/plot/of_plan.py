"""A plan's picture: the machine's roofline with this model on it, latency by position, memory by context.

Every number is asked of the plan, at more places than its table shows; nothing is computed anew in another way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nearlight.limits.costs import Cost
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import step_time
from nearlight.plan import Plan
from nearlight.plot.figure import Axis, Figure, Note, Panel, Series, speed_text, value_text

_CONTEXTS = 24
_FAR_ABOVE = 3
"""Memory is left out of the picture, and named at its edge, where it is so many times what is needed."""

_TERA, _GIGA, _GIB = 1e12, 1e9, 2**30


def plan_figure(plans: Sequence[Plan]) -> Figure:
    """Describe the picture of a plan, which is the first of `plans`; the others are the same in other weights."""
    plan = plans[0]
    by_size = sorted(plans, key=lambda each: -each.memory.weights)
    colours = {id(each): number for number, each in enumerate(by_size)}
    shown = plan if plan.max_context else next((each for each in by_size if each.max_context), None)
    below = [_memory(by_size, plan, colours)]
    if shown is not None:
        below.insert(0, _latency(by_size, plan, colours))
    return Figure(
        title=f"{plan.model}, {plan.weights}, on {plan.hardware.name}",
        subtitle=_subtitle(plan),
        rows=[[_roofline(plan, shown, colours)], below],
    )


def _subtitle(plan: Plan) -> str:
    source = "ceilings measured on this machine" if plan.label == "measured" else "the machine's data sheet, estimated"
    convention = "" if plan.convention == "physical" else f" by the {plan.convention} convention"
    fits = "fit into" if plan.fits else "do not fit into"
    available = f"{value_text(plan.memory.available / _GIB)} GiB"
    available += f" {plan.memory.origin}" if plan.memory.origin else ""
    return f"Limits from {source}{convention}. {plan.context} tokens of context ({plan.kv}) {fits} {available}."


# -- the roofline ------------------------------------------------------------------------------------------------------


def _roofline(plan: Plan, shown: Plan | None, colours: dict[int, int]) -> Panel:
    """Draw the ceilings, and on them this model's work as it grows from one token to the prompt."""
    token = plan.costs.decode(0)
    bandwidth = plan.hardware.read_bytes_per_s(token.bytes_read + token.bytes_written)  # of memory, or of the cache
    peaks = dict(plan.hardware.flops)
    if plan.convention == "blog":  # it computes everything in fp32
        peaks = {"fp32": peaks["fp32"]}
    path = _path(shown, colours[id(shown)]) if shown else None
    ridge = max(peaks.values()) / bandwidth
    low = min(path.x) / 3 if path else ridge / 1000
    high = 4 * max([ridge, *(path.x if path else ())])
    return Panel(
        "Roofline: from one token to the whole prompt" if path else "Roofline: nothing on it, as no format fits",
        Axis("operations per byte read", "FLOP/B", log=True, low=low, high=high),
        Axis("speed", "TFLOP/s", log=True, low=low * bandwidth / _TERA, high=2.5 * max(peaks.values()) / _TERA),
        [*_ceilings(bandwidth, peaks, low, high), *([path] if path else [])],
        _work_notes(shown, colours[id(shown)]) if shown else [],
    )


def _ceilings(bandwidth: float, peaks: Mapping[str, float], low: float, high: float) -> Iterable[Series]:
    """Give the slope up to the highest peak, and each data type's peak from where the slope meets it."""
    top = max(peaks.values())
    slope = f"reading {value_text(bandwidth / _GIGA)} GB/s"
    yield Series("bandwidth", (low, top / bandwidth), (low * bandwidth / _TERA, top / _TERA), label=slope, along=True)
    for kind, peak in peaks.items():
        tera = peak / _TERA
        yield Series(f"{kind} peak", (peak / bandwidth, high), (tera, tera), label=f"{kind} {value_text(tera)}")


def _path(plan: Plan, colour: int) -> Series:
    """Follow a prompt as it doubles; the first token alone is a step of decoding."""
    prefill = plan.prefill
    n_prompt = prefill.n_prompt if prefill else plan.max_context
    lengths = {1 << i for i in range(n_prompt.bit_length())} | {n_prompt}
    if prefill and prefill.inflection_tokens and prefill.inflection_tokens < n_prompt:
        lengths.add(round(prefill.inflection_tokens))
    points = [_point(plan.costs.prefill(length, plan.chunk), plan.hardware) for length in sorted(lengths)]
    texts = [f"prompt of {length}" for length in sorted(lengths)]
    x, y = zip(*points, strict=True)
    return Series(plan.weights, x, y, colour, strong=True, texts=texts)


def _work_notes(plan: Plan, colour: int) -> list[Note]:
    """Name decoding, the inflection point and the prompt on the path."""
    hardware, prefill = plan.hardware, plan.prefill
    first = plan.decode_at(0)
    assert first is not None
    at = _point([plan.costs.decode(0)], hardware)
    notes = [Note(*at, f"decode at {plan.weights}: {speed_text(first.tok_s)} tok/s", colour, "below right")]
    if prefill is None:
        return notes
    rows = round(prefill.inflection_tokens or 0)
    if 1 < rows < prefill.n_prompt:
        at = _point(plan.costs.prefill(rows, plan.chunk), hardware)
        notes.append(Note(*at, f"{rows} tokens: inflection", colour, "below right"))
    at = _point(plan.costs.prefill(prefill.n_prompt, plan.chunk), hardware)
    speed = speed_text(prefill.n_prompt / prefill.ttft_s)
    notes.append(Note(*at, f"prompt of {prefill.n_prompt}: {speed} tok/s", colour, "above"))
    return notes


def _point(steps: Sequence[Cost], hardware: Hardware) -> tuple[float, float]:
    """Place steps on the roofline. Units: operations per byte, 10^12 operations per second."""
    n_bytes = sum(step.bytes_read + step.bytes_written for step in steps)
    operations = sum(sum(step.operations.values()) for step in steps)
    seconds = sum(step_time(step, hardware).total_s for step in steps)
    return operations / n_bytes, operations / seconds / _TERA


# -- by context --------------------------------------------------------------------------------------------------------


def _latency(plans: Sequence[Plan], plan: Plan, colours: dict[int, int]) -> Panel:
    lines = [_latency_line(each, colours[id(each)], each is plan) for each in plans if each.max_context]
    longest = max(each.max_context for each in plans)
    high = 1.12 * max(max(line.y) for line in lines)
    asked, notes = _asked(plan, longest, high)
    return Panel(
        "Latency: one more token at a position",
        Axis("position", "tokens", low=0, high=longest),
        Axis("time per token", "ms", low=0, high=high),
        [*asked, *lines],
        notes,
    )


def _latency_line(plan: Plan, colour: int, strong: bool) -> Series:
    points = [point for context in _contexts(plan.max_context) if (point := plan.decode_at(context))]
    ends = f"{speed_text(points[0].tok_s)} → {speed_text(points[-1].tok_s)} tok/s"
    return Series(
        f"{plan.weights}, decode",
        [point.context for point in points],
        [1000 * point.tpot_s for point in points],
        colour,
        label=f"{plan.weights}  {ends}",
        strong=strong,
        texts=[f"{speed_text(point.tok_s)} tok/s" for point in points],
    )


def _memory(plans: Sequence[Plan], plan: Plan, colours: dict[int, int]) -> Panel:
    """Draw what each format of weights needs, and what there is; a dot is the longest context that memory allows."""
    longest = max(plan.context, *(each.max_context for each in plans))
    lines = [_memory_line(each, longest, colours[id(each)], each is plan) for each in plans]
    most = max(max(line.y) for line in lines)
    available = plan.memory.available / _GIB
    size = f"{value_text(available)} GiB"
    if available > _FAR_ABOVE * most:
        high = 1.25 * most
        asked, notes = _asked(plan, longest, high)
        notes.append(Note(0, high, f"↑ {size} available", side="below right", dot=False))
    else:
        high = 1.12 * max(most, available)
        asked, notes = _asked(plan, longest, high)
        lines.append(Series("available", (0, longest), (available, available), kind="dashed", label=size))
        notes += [Note(each.max_context, available, "", colours[id(each)]) for each in plans if _fills_memory(each)]
    return Panel(
        "Memory: weights, KV cache and overhead",
        Axis("context", "tokens", low=0, high=longest),
        Axis("memory", "GiB", low=0, high=high),
        [*asked, *lines],
        notes,
    )


def _memory_line(plan: Plan, longest: int, colour: int, strong: bool) -> Series:
    contexts = _contexts(longest)
    sizes = [_bytes_at(plan, context) / _GIB for context in contexts]
    fits = " never fits" if not plan.max_context else f" up to {plan.max_context}" if _fills_memory(plan) else ""
    return Series(f"{plan.weights}, memory", contexts, sizes, colour, label=plan.weights + fits, strong=strong)


def _fills_memory(plan: Plan) -> bool:
    """Whether memory, rather than the model, ends the longest context."""
    return plan.max_context > 0 and _bytes_at(plan, plan.max_context + 1) > plan.memory.available


def _bytes_at(plan: Plan, context: int) -> float:
    return plan.memory.weights + plan.memory.overhead + plan.costs.kv_bytes(context)


def _asked(plan: Plan, longest: int, high: float) -> tuple[list[Series], list[Note]]:
    """Mark the context that was asked for, unless it is where the panel ends."""
    if plan.context > 0.8 * longest:
        return [], []
    line = Series("planned context", (plan.context, plan.context), (0, high), kind="dotted")
    return [line], [Note(plan.context, 0, f"{plan.context} planned", side="above right", dot=False)]


def _contexts(longest: int) -> list[int]:
    """Divide a range of contexts evenly, both ends included."""
    return sorted({round(longest * i / _CONTEXTS) for i in range(_CONTEXTS + 1)})
