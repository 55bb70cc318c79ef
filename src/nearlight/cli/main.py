"""Finds the command, runs it, and turns what goes wrong into one line and an exit code.

Exit codes: 0 done, 1 an asked-for condition is not met, 2 bad input, 70 a defect of nearlight, 130 stopped by Ctrl-C,
141 the reader of our output went away (as for any program in a pipe).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from nearlight.errors import NearlightError, RequestError
from nearlight.terminal import streams

COMMANDS = {
    "run": ("run.main", "answer a prompt, or chat"),
    "plan": ("plan.command.main", "say whether a model fits a machine, and how fast it can be"),
    "inspect": ("inspect.main", "show what is in a model package, and what looks wrong"),
    "roofline": ("roofline.main", "measure this machine's ceilings: reading memory, multiplying"),
    "bench": ("bench.main", "measure a model's speed, beside its limit and its prediction"),
    "pull": ("hub.pull", "download a model from the Hugging Face hub"),
    "list": ("hub.show", "list the downloaded models"),
    "rm": ("hub.remove", "delete a downloaded model"),
    "cache": ("cache.main", "show or clear the packed weights that are kept on disk"),
}
"""Each is a function `(arguments) -> exit code` of a module here, and said in a line."""

_NEW_OBJECTS = 50_000
"""Between two searches for garbage. Python's own 700 would have a start, which makes none, search for 30 ms."""

_EXAMPLES = """\
examples:
  nearlight run "def fibonacci(n):"            complete code with the embedded model
  nearlight run Qwen/Qwen3-0.6B                chat; the model is downloaded if need be
  nearlight run model.gguf "Why is it dark?"   one answer
  nearlight inspect model.gguf                 architecture, bits, template, remarks

`nearlight COMMAND --help` says more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    streams.prepare()
    gc.set_threshold(_NEW_OBJECTS)
    try:
        code = _dispatch(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        failed = streams.failed()  # also where a library has kept the error to itself
    except NearlightError as error:
        return _complain(str(error), 2)
    except KeyboardInterrupt:
        return 130
    except MemoryError:
        return _complain("not enough memory; try a smaller --context, or --weights w4", 2)
    except Exception as error:
        failed = streams.failed()
        if not failed or not isinstance(error, OSError):
            if os.environ.get("NEARLIGHT_DEBUG"):
                raise
            what = " ".join(f"{type(error).__name__}: {error}".split())
            advice = "this is a defect, please report it (NEARLIGHT_DEBUG=1 shows where)"
            return _complain(f"unexpected {what}; {advice}", 70)
    return _tell_failed(failed) if failed else code


def _tell_failed(failed: Mapping[str, OSError]) -> int:
    """Tell that an output could not be written; nobody minds that a reader went away."""
    if any(isinstance(error, BrokenPipeError) for error in failed.values()):
        return 141
    name, error = next(iter(failed.items()))
    return _complain(f"{name} cannot be written ({error.strerror})", 2)


def _dispatch(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "--help"
    if command in ("--help", "-h", "help"):
        if len(arguments) > 1 and arguments[1] in COMMANDS:
            return _dispatch([arguments[1], "--help"])
        from nearlight.terminal.tty import width
        from nearlight.terminal.wrapping import folded

        print(folded(_overview(), width()))
        return 0
    if command in ("--version", "-V"):
        from nearlight import __version__

        print(f"nearlight {__version__}")
        return 0
    if command not in COMMANDS:
        raise RequestError(f"unknown command {command!r}", advice=_nearest(command))
    module, _, function = COMMANDS[command][0].rpartition(".")
    try:
        return int(getattr(import_module(f"nearlight.cli.{module}"), function)(arguments[1:]))
    except SystemExit as end:  # argparse, after --help
        return int(end.code or 0)


def _overview() -> str:
    listing = "\n".join(f"  {name:<10}{summary}" for name, (_, summary) in COMMANDS.items())
    return (
        "usage: nearlight COMMAND …\n\n"
        "A local LLM inference engine that knows its own speed limit.\n\n"
        f"commands:\n{listing}\n\n"
        "options:\n  --version\n  --help\n\n"
        f"{_EXAMPLES}"
    )


def _nearest(command: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(command, COMMANDS, n=1, cutoff=0.5)
    return f"did you mean `nearlight {near[0]}`?" if near else "commands are " + ", ".join(COMMANDS)


def _complain(line: str, code: int) -> int:
    from nearlight.terminal.wrapping import say

    try:
        say(f"nearlight: {line}")
    except OSError:
        streams.failed()
    return code


if __name__ == "__main__":
    sys.exit(main())
