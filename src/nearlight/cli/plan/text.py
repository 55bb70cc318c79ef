"""What `nearlight plan` tells a person: the verdict and what to change, then the numbers behind it.

Figures are rounded for reading (`--json` has them in full); memory is in GiB, as it is sold, bandwidths are decimal.
"""

from __future__ import annotations

from typing import TextIO

from nearlight.cli.plan.report import PlanReport
from nearlight.plan import Plan
from nearlight.quantities import bytes_text, count_text, latency_text, memory_text, significant
from nearlight.terminal import tty
from nearlight.terminal.table import facts, table
from nearlight.terminal.tty import BOLD, YELLOW, is_terminal, styled
from nearlight.terminal.wrapping import filled

Facts = list[tuple[str, str]]

_BAR_CELLS = 24
_NONE = "–"
_FLAT_TOKENS_PER_MS = 1e6
"""A decode line that rises less than a millisecond over so many tokens is called flat."""
_SEGMENT_TOKENS = 256
"""By which caches grow: what is kept beyond these is no token's."""


def report_text(report: PlanReport, stream: TextIO) -> str:
    """Lay a report out for a stream: bars and styles on a terminal, plain text elsewhere."""
    plan = report.plan
    sections = (
        _verdict(plan, stream),
        facts(_subject(plan), stream),
        _memory(plan, stream),
        facts(_prompt(plan) + _what_if(report), stream),
        _decode(report, stream),
        "\n".join(filled(f"Note: {note}.", stream) for note in report.notes),
    )
    return "\n\n".join(section for section in sections if section)


# -- the verdict -------------------------------------------------------------------------------------------------------


def _verdict(plan: Plan, stream: TextIO) -> str:
    memory = plan.memory
    what = f"{_weights(plan)} and {plan.context} tokens of context take {_size(memory.total)}"
    if plan.fits:
        obstacle = f"{plan.obstacle}." if plan.obstacle else ""
        lines = [f"{plan.model} {plan.answer}: {what} of {_available(plan)}.", obstacle, _speed_sentence(plan)]
    else:
        most = f"at most {plan.max_context} tokens fit" if plan.max_context else "not even the weights fit"
        lines = [f"{plan.model} {plan.answer}: {what}, and there are {_available(plan)}; {most}."]
    style = BOLD if plan.runnable else f"{BOLD};{YELLOW}"
    lines = [filled(line, stream) for line in lines if line]
    lines[0] = styled(lines[0], style, stream)
    if plan.advice:
        lines += ["It fits with any one of these:" if len(plan.advice) > 1 else "What fits:"]
        lines += [filled(f"  {advice}", stream, "    ") for advice in plan.advice]
    return "\n".join(lines)


def _available(plan: Plan) -> str:
    size, origin = _size(plan.memory.available), plan.memory.origin
    return f"{size} {origin}" if origin else size


def _weights(plan: Plan) -> str:
    return "weights in their stored bits" if plan.weights.startswith("stored") else f"{plan.weights} weights"


def _speed_sentence(plan: Plan) -> str:
    prefill = plan.prefill
    after = plan.decode_at(prefill.n_prompt) if prefill else None
    if prefill is None or after is None:
        return ""
    first = f"A prompt of {prefill.n_prompt} tokens takes at least {latency_text(prefill.ttft_s)}"
    return f"{first}, and then at most {significant(after.tok_s)} tokens come a second."


# -- the numbers -------------------------------------------------------------------------------------------------------


def _subject(plan: Plan) -> Facts:
    params, hardware = plan.params, plan.hardware
    active = f" ({count_text(params.active)} active a token)" if params.active != params.total else ""
    head = f", head {count_text(params.lm_head)}" if params.lm_head else " (also the head)"
    sizes = f"layers {count_text(params.layers)}, embedding {count_text(params.embedding)}{head}"
    peaks = ", ".join(f"{kind} {significant(peak / 1e12)}" for kind, peak in hardware.flops.items())
    origin = "measured on this machine" if hardware.label == "measured" else f"estimated from {hardware.source}"
    known = [
        ("model", f"{plan.model}, {count_text(params.total)} parameters{active}: {sizes}"),
        ("machine", f"{hardware.name}: reads {bytes_text(hardware.bytes_per_s, 3)}/s; {peaks} TFLOP/s"),
        ("figures", f"{plan.label}: {origin.partition(' ')[2]}"),
    ]
    token = plan.costs.decode(0)
    if hardware.cache and hardware.reads_from(token.bytes_read + token.bytes_written) == "cache":
        size, speed = memory_text(hardware.cache.n_bytes), bytes_text(hardware.cache.bytes_per_s)
        known.append(("read from", f"the last caches ({size} at {speed}/s), where all that a token reads has room"))
    if plan.convention != "physical":
        known.append(("convention", f"{plan.convention}; docs/limits.md says what it counts"))
    return known


def _memory(plan: Plan, stream: TextIO) -> str:
    memory = plan.memory
    whole = max(memory.total, memory.available)
    kept, cache = "KV cache", f"{plan.context} tokens at {plan.kv}, {_size(plan.kv_bytes_per_token)} each"
    if not plan.kv_bytes_per_token:
        kept, cache = "state", "the same for any number of tokens"
    elif memory.kv > (plan.context + _SEGMENT_TOKENS) * plan.kv_bytes_per_token:
        cache += ", and states that do not grow"
    notes = {"weights": plan.weights, kept: cache, "overhead": "activations, libraries"}
    sizes = {"weights": memory.weights, kept: memory.kv, "overhead": memory.overhead}
    rows = [(name, _size(size), *_bar(size / whole, stream), notes[name]) for name, size in sizes.items() if size]
    total = f"of {_available(plan)}"
    rows.append(("total", _size(memory.total), *_bar(memory.total / whole, stream), total))
    text = table(("memory", *("" for _ in rows[0][1:])), rows, right=(1,), stream=stream)
    longest = f"{plan.max_context} tokens" if plan.max_context else "none"
    said = f"The longest context that fits: {longest}. A GiB is 2^30 bytes."
    if memory.in_file:
        row = _size(memory.in_file_per_token)
        said += (
            f" Per-layer embeddings, {_size(memory.in_file)}, stay in the model's file: a token reads {row} of them."
        )
    return f"{text}\n{filled(said, stream)}"


def _bar(share: float, stream: TextIO) -> tuple[str, ...]:
    """Draw a share for a terminal; a pipe gets no such column."""
    if not is_terminal(stream):
        return ()
    n_cells = min(_BAR_CELLS, max(tty.width() - 56, 4))
    full = min(max(round(n_cells * share), 1), n_cells)
    return ("█" * full + "░" * (n_cells - full),)


def _prompt(plan: Plan) -> Facts:
    prefill = plan.prefill
    if prefill is None:
        return []
    speed = f", {significant(prefill.n_prompt / prefill.ttft_s)} tok/s" if plan.max_context else ""
    parts = f"computing takes {latency_text(prefill.compute_s)}, reading {latency_text(prefill.read_s)}"
    return [
        ("prompt", f"{prefill.n_prompt} tokens: first token after {latency_text(prefill.ttft_s)}{speed}"),
        ("bound by", f"{prefill.bound}: {parts}"),
        ("inflection", _inflection(prefill.inflection_tokens, prefill.inflection_rough)),
    ]


def _inflection(tokens: float | None, rough: float | None) -> str:
    if tokens is None:
        return "none: reading the weights takes longer than computing, however many tokens a step has"
    count = f"{tokens:.2f} tokens (rough: {rough:.2f})" if rough is not None else f"{significant(tokens)} tokens"
    return f"{count} in a step. Up to there a step takes as long as reading all weights; beyond, computing takes longer"


def _decode(report: PlanReport, stream: TextIO) -> str:
    """Set the formats of weights side by side: decode speed by context, then what else they change."""
    plans = report.by_size
    roomiest = max(plans, key=lambda plan: plan.max_context)
    contexts = sorted({point.context for plan in (report.plan, roomiest) for point in plan.decode})
    rows = [(str(context), *(_speed(plan, context) for plan in plans)) for context in contexts]
    if contexts:
        rows.append(("",) * (1 + len(plans)))
        rows.append(("first token", *(_ttft(plan) for plan in plans)))
    rows.append(("memory", *(_size(plan.memory.total) for plan in plans)))
    rows.append(("longest context", *(str(plan.max_context or _NONE) for plan in plans)))
    header = ("tok/s at a context of" if contexts else "", *(plan.weights for plan in plans))
    text = table(header, rows, right=range(1, len(header)), stream=stream)
    return f"{text}\n{filled(_line_sentence(report.plan), stream)}".rstrip()


def _speed(plan: Plan, context: int) -> str:
    point = plan.decode_at(context)
    return significant(point.tok_s) if point else _NONE


def _ttft(plan: Plan) -> str:
    return latency_text(plan.prefill.ttft_s) if plan.prefill else _NONE


def _line_sentence(plan: Plan) -> str:
    line = plan.decode_line
    if line is None:
        return ""
    weights = "its stored bits" if plan.weights.startswith("stored") else plan.weights
    first = f"In {weights} a token takes {latency_text(line.first_s)}"
    if line.tokens_per_ms > _FLAT_TOKENS_PER_MS:
        return f"{first}, at any context."
    return f"{first}, and 1 ms more for every {significant(line.tokens_per_ms)} tokens of context."


# -- what else was asked -----------------------------------------------------------------------------------------------


def _what_if(report: PlanReport) -> Facts:
    answers = {"users": _users(report), "speculation": _speculation(report), "thinking": _thinking(report)}
    return [(name, text) for name, text in answers.items() if text]


def _users(report: PlanReport) -> str:
    users, promise, load = report.users, report.promise, report.load
    if users is None or promise is None:
        return ""
    asked = f"prompts of {load.n_prompt}, answers of {load.n_answer}"
    limit = {"memory": "memory is full", "ttft": "the first token is too late", "tpot": "tokens come too slowly"}
    why = limit.get(users.stopped_by, "more were not tried")
    if not users.count:
        return f"none can be promised this ({asked}): {why} for the first"
    each = f"first token after {latency_text(users.ttft_s)}, then {latency_text(users.tpot_s)} a token"
    more = f"one more, and {why}" if users.stopped_by else why
    return f"{users.count} at once ({asked}): {each}; {significant(users.tok_s)} tok/s in all; {more}"


def _speculation(report: PlanReport) -> str:
    speculation, acceptance, plan = report.speculation, report.acceptance, report.plan
    if speculation is None or acceptance is None:
        return ""
    if speculation.n_draft == 0:
        return f"no gain at {_percent(acceptance)} accepted"
    best = f"{speculation.speedup(acceptance):.2f} times as fast at most, with {speculation.n_draft} guesses a step"
    check = f"checking them costs {speculation.verify_cost:.2f} steps"
    even = speculation.break_even
    loses = f"; below {_percent(even)} accepted it loses" if even is not None and even > 0.005 else ""
    return f"{best} that cost nothing, {_percent(acceptance)} accepted, at {plan.context} tokens; {check}{loses}"


def _thinking(report: PlanReport) -> str:
    thinking = report.thinking
    if thinking is None:
        return ""
    delay = f"{thinking.n_tokens} tokens put the answer off by {latency_text(thinking.delay_s)}"
    cost = f"take {memory_text(thinking.kv_bytes)} more of KV cache" if thinking.kv_bytes else "need no more KV cache"
    return f"{delay}, {cost}, and make each token after them {latency_text(thinking.added_tpot_s)} slower"


# -- layout ------------------------------------------------------------------------------------------------------------


def _size(n_bytes: float) -> str:
    return memory_text(n_bytes, 3)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
