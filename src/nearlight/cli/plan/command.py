"""`nearlight plan`: does a model fit, how long is the context that fits, and how fast can it be at most; then what if.

Nothing is loaded: a package's header or a config by name is enough, for this machine or for any other.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearlight.cli.arguments import (
    KV_HELP,
    Parser,
    nearest_weights,
    number,
    require_writable,
    thread_count,
    token_count,
)
from nearlight.errors import RequestError
from nearlight.plan.options import DEFAULT_PROMPT
from nearlight.quantities import memory_text

if TYPE_CHECKING:
    from nearlight.limits.hardware import Hardware
    from nearlight.plan import Plan, Subject

_EXAMPLES = """\
  nearlight plan qwen3-4b                                  on this machine, as it was measured
  nearlight plan qwen3-32b --hardware rtx4090 --weights w4
  nearlight plan model.gguf --context 32768 --plot plan.png
  nearlight plan llama-3.1-8b --hardware h100sxm --sla ttft=2s,tpot=50ms
  nearlight plan --list                                    names of models; --list qwen: some of them
  nearlight plan --hardware list                           names of machines

MODEL is a directory, a .gguf file, a hub id, a config.json, or the name of a published model: no weights are needed.
Memory is told in GiB (2^30 bytes), as it is sold: a 24 GB card has 24.
Speeds are limits: no engine can be faster there. Exit code 0: it fits; 1: it does not, or a promise cannot be kept."""

_USUAL_ANSWER = 500


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    args = _parser().parse_args(arguments)
    args.weights = nearest_weights(args.weights)
    if args.hardware == "list":
        from nearlight.cli.plan.listing import hardware_json, hardware_text

        print(json.dumps(hardware_json()) if args.json else hardware_text(sys.stdout))
        return 0
    if args.list:
        from nearlight.cli.plan.listing import models_json, models_text

        print(json.dumps(models_json(args.model)) if args.json else models_text(args.model, sys.stdout))
        return 0
    if args.plot:
        from nearlight.plot import check_target

        check_target(args.plot)
        require_writable(args.plot)
    from nearlight.cli.plan.report import PlanReport

    questions = _questions(args)
    subject = _subject(args.model)
    plans = _plans(args, subject)
    report = PlanReport.of(plans, notes=_notes(plans[0]), **questions)
    if args.json:
        print(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        from nearlight.cli.plan.text import report_text

        print(report_text(report, sys.stdout))
    if args.plot:
        from nearlight.plot import draw, plan_figure

        draw(plan_figure(report.plans), args.plot)
        print(f"drawn: {args.plot}", file=sys.stderr)
    return 0 if report.holds else 1


def _parser() -> Parser:
    parser = Parser("plan", "Say whether a model fits a machine, and how fast it can be there at most.", _EXAMPLES)
    parser.add_argument("model", nargs="?", help="what to plan (default: the embedded model)")
    parser.add_argument("--list", action="store_true", help="list the models known by name (with MODEL in theirs)")
    what = parser.add_argument_group("what is planned")
    what.add_argument("--weights", metavar="FORMAT", help="bf16, w8, w6 or w4 (default: as stored; by name: bf16)")
    what.add_argument("--kv", metavar="FORMAT", help=KV_HELP)
    what.add_argument("-c", "--context", type=token_count, metavar="N", help="tokens of context (default: 4096)")
    what.add_argument(
        "-p", "--prompt", type=token_count, metavar="N", help=f"tokens of the prompt (default: {DEFAULT_PROMPT})"
    )
    what.add_argument(
        "--convention", default="physical", metavar="NAME", help="of counting: physical (default), or blog"
    )
    where = parser.add_argument_group("where")
    where.add_argument("--hardware", metavar="NAME", help="like rtx4090; `list` lists them; or a .json file with a row")
    where.add_argument(
        "-t", "--threads", type=thread_count, metavar="N", help="threads of this machine (default: its cores)"
    )
    what_if = parser.add_argument_group("what if")
    what_if.add_argument("--sla", metavar="PROMISE", help="users at once under a promise: ttft=2s,tpot=50ms")
    what_if.add_argument(
        "--answer", type=token_count, metavar="N", help=f"… with answers of N tokens (default: {_USUAL_ANSWER})"
    )
    what_if.add_argument("--speculate", type=number, metavar="A", help="guesses are drafted; A of 1 are accepted: 0.7")
    what_if.add_argument("--think", type=token_count, metavar="N", help="N tokens of thinking come before the answer")
    out = parser.add_argument_group("output")
    out.add_argument("--plot", metavar="FILE", help="draw it too: FILE.png, .svg or .html")
    return parser


def _plans(args: argparse.Namespace, subject: Subject) -> list[Plan]:
    """Plan as asked; then, to compare, in the other formats of weights."""
    from nearlight.plan import compare_weights, make_plan

    machine, isa = _machine(args.hardware, args.threads)
    options: dict[str, Any] = {"kv": args.kv, "prompt": args.prompt, "context": args.context}
    options |= {"after": _after_prompt(args), "convention": args.convention, "isa": isa}
    if args.hardware is None:
        options |= _free_memory()
    plan = make_plan(subject, machine, weights=args.weights, **options)
    others = [other for other in compare_weights(subject, machine, **options) if other.weights != plan.weights]
    if subject.package is not None:  # bits that a file has lost do not come back
        stored = plan if args.weights is None else make_plan(subject, machine, advice=False, **options)
        others = [other for other in others if other.memory.weights < stored.memory.weights]
        others += [stored] if stored is not plan else []
    return [plan, *others]


def _notes(plan: Plan) -> list[str]:
    """Say what a plan takes for granted."""
    notes = []
    if plan.params.experts:
        notes.append("which experts a token takes depends on the text; these are the figures of an even choice")
    return notes


def _questions(args: argparse.Namespace) -> dict[str, Any]:
    """Read what else is asked, as keyword arguments of `PlanReport.of`."""
    from nearlight.limits.promise import Promise

    if args.speculate is not None and not (math.isfinite(args.speculate) and 0 <= args.speculate <= 1):
        raise RequestError("--speculate", expected="an acceptance rate from 0 to 1", found=args.speculate)
    if args.answer is not None and not args.sla:
        raise RequestError("--answer is for --sla", advice="add --sla ttft=2s,tpot=50ms")
    return {
        "promise": Promise.parse(args.sla) if args.sla else None,
        "n_answer": args.answer or _USUAL_ANSWER,
        "acceptance": args.speculate,
        "n_think": args.think,
    }


def _after_prompt(args: argparse.Namespace) -> int:
    """Return how many tokens follow the prompt in what is asked. Raises: RequestError for none of them."""
    for flag, count in (("--think", args.think), ("--answer", args.answer)):
        if count is not None and count < 1:
            raise RequestError(flag, expected="at least 1 token", found=count)
    return max(args.think or 0, (args.answer or _USUAL_ANSWER) if args.sla else 0)


# -- which model, and which machine ------------------------------------------------------------------------------------


def _subject(name: str | None) -> Subject:
    """Find what is on this machine under a name, else in the catalogue of published models."""
    from nearlight.cli.names import find_named
    from nearlight.plan import subject_of

    return subject_of(find_named(name))


def _machine(name: str | None, threads: int | None) -> tuple[Hardware, str]:
    """Return a machine, and the instruction level of this engine's kernels there."""
    from nearlight.limits.hardware import Hardware, find_hardware

    if name is None:
        from nearlight.machine.hardware import this_machine
        from nearlight.machine.processor import instruction_level

        isa = instruction_level()
        return this_machine(threads), isa
    if threads is not None:
        raise RequestError("--threads is for this machine", advice="leave it out with --hardware")
    if not name.endswith(".json"):
        return find_hardware(name), "avx512"
    path = Path(name).expanduser()
    try:
        row = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RequestError(f"cannot be read ({error.strerror})", where=name) from None
    except (ValueError, RecursionError):
        raise RequestError("not JSON", where=name, advice="docs/limits.md shows such a row") from None
    return Hardware.from_json(row, name), "avx512"


def _free_memory() -> dict[str, Any]:
    """Return what is left of this machine's memory, or of its container's, as options of `make_plan`."""
    from nearlight.machine.memory import available_memory

    memory = available_memory()
    return {"available_bytes": memory.left, "available_is": f"free of {memory.owner}'s {memory_text(memory.total, 3)}"}
