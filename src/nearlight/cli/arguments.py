"""Flags that commands share, and a parser that takes them anywhere, complains in one line, and helps at any width."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from nearlight.errors import RequestError
from nearlight.quantities import read_count
from nearlight.terminal import tty
from nearlight.terminal.wrapping import WIDEST, folded
from nearlight.text.switches import LEVELS

BASE_MAX_TOKENS = 256
"""A base model does not know when to stop; without --max-tokens, this is when."""

KV_HELP = "format of the KV cache: f16, q8 or f32 (default: f16; f32 where all weights have 32 bits)"

_WORD = "\0"
"""Put before a word that follows `--`, so that it does not look like a flag; no argument can hold one itself."""

_BESIDE = 60
"""A terminal as wide as this has room for options and their texts side by side."""


# -- the parser --------------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose flags may stand before, between and after words, and which raises RequestError instead of
    printing its usage and leaving."""

    def __init__(self, command: str, description: str, examples: str) -> None:
        super().__init__(
            prog=f"nearlight {command}",
            description=description,
            epilog="examples:\n" + examples,
            formatter_class=HelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--json", action="store_true", help="print the result as JSON")

    def parse_args(self, arguments: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]
        """Read a command's arguments; what follows `--` is a word, whatever it looks like.

        Raises: RequestError for what the command does not take.
        """
        given = list(arguments)
        end = given.index("--") if "--" in given else len(given)
        args = self.parse_intermixed_args([*given[:end], *(_WORD + word for word in given[end + 1 :])])
        for name, value in vars(args).items():
            if isinstance(value, str):
                setattr(args, name, value.removeprefix(_WORD))
            elif isinstance(value, list):
                setattr(args, name, [part.removeprefix(_WORD) if isinstance(part, str) else part for part in value])
        return args

    def error(self, message: str) -> NoReturn:
        for mark in (_WORD, repr(_WORD)[1:-1]):  # argparse quotes some words
            message = message.replace(mark, "")
        raise RequestError(message, advice=self._near(message) or f"see `{self.prog} --help`")

    def _near(self, message: str) -> str:
        """Name the flag that was meant, where a complaint is about one that is none."""
        mistyped = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        flags = [flag for action in self._actions for flag in action.option_strings]
        near = get_close_matches(mistyped[1], flags, n=1, cutoff=0.7) if mistyped else []
        return f"did you mean {near[0]}?" if near else ""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of examples, fills everything else, and cuts no word."""

    def __init__(self, prog: str) -> None:
        width = min(tty.width(), WIDEST)
        super().__init__(prog, max_help_position=24 if width >= _BESIDE else 6, width=width)

    def _format_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None,
    ) -> str:
        """Name what has no flag; the flags follow below."""
        if usage is None:
            words = [self._format_args(action, str(action.dest)) for action in actions if not action.option_strings]
            usage = " ".join((self._prog, *(word.upper() for word in words), "[options]"))
        return folded(f"usage: {usage}", self._width, "       ") + "\n\n"

    def start_section(self, heading: str | None) -> None:
        super().start_section(heading and folded(heading, self._width - 1))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        flags = super()._format_action_invocation(action)
        return folded(" " * self._current_indent + flags, self._width).lstrip(" ")

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        # A line end within a paragraph is only that of the source.
        return folded(re.sub(r"(?<=\S)\n(?=\S)", " ", text), width)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return folded(" ".join(text.split()), width).split("\n")


# -- values ------------------------------------------------------------------------------------------------------------


def token_count(text: str) -> int:
    """Read a number of tokens or rows, as a flag's type."""
    try:
        return read_count(text, "")
    except RequestError as error:  # argparse names the flag
        raise argparse.ArgumentTypeError(str(error).removeprefix(": ")) from None


def thread_count(text: str) -> int:
    """Read a number of threads, as a flag's type: at most the processors that this process may use."""
    from nearlight.machine.threads import processors

    there = len(processors())
    expected = f"1 to {there}, the processors here" if there > 1 else "1, the only processor here"
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= there):
        raise argparse.ArgumentTypeError(f"expected {expected}, found {text[:40]!r}")
    return int(text)


def number(text: str) -> float:
    """Read a number, as a flag's type; what it may be is for whoever uses it to say."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, found {text[:40]!r}") from None


def whole_number(text: str) -> int:
    """Read a whole number, as a flag's type; what it may be is for whoever uses it to say."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, found {text[:40]!r}") from None


def require_writable(path: str | Path) -> None:
    """Make sure that a file can be written or made there; nothing is opened, and none is made.

    Raises: RequestError for a directory that is not there, what is no file, or a place one may not write to.
    """
    path = Path(path)
    directory = path.parent
    if not directory.is_dir():
        raise RequestError("no such directory", where=directory)
    if path.exists() and not path.is_file():
        raise RequestError("cannot be written", where=path, expected="a file", found=_kind(path))
    if not os.access(path if path.exists() else directory, os.W_OK):
        raise RequestError("may not be written", where=path, advice="choose a file in a directory of yours")


def _kind(path: Path) -> str:
    return "a directory" if path.is_dir() else "a pipe" if path.is_fifo() else "a device"


# -- flags of several commands -----------------------------------------------------------------------------------------


def add_loading(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how a model is loaded: those of `nearlight.load`."""
    group = parser.add_argument_group("loading")
    group.add_argument(
        "-c", "--context", type=token_count, metavar="N", help="tokens of context, like 8k (default: the model's own)"
    )
    group.add_argument("-t", "--threads", type=thread_count, metavar="N", help="threads (default: physical cores)")
    group.add_argument(
        "--weights", metavar="FORMAT", help="re-quantize at load: bf16, w8, w6 or w4 (others' names mean the nearest)"
    )
    group.add_argument("--kv", metavar="FORMAT", help=KV_HELP)
    group.add_argument("--backend", default="auto", metavar="NAME", help="auto (default), cpu or reference")
    group.add_argument(
        "--no-cache", dest="cache", action="store_false", help="neither read nor keep packed weights (see `cache`)"
    )
    add_downloading(group)


def add_downloading(group: argparse._ActionsContainer) -> None:
    """Add the flags that say whether a model may be downloaded."""
    group.add_argument("--offline", action="store_true", help="never download; use what is on this machine")
    group.add_argument("-y", "--yes", action="store_true", help="download a model of the catalogue without asking")


def loading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return those flags as keyword arguments of `nearlight.load`."""
    options = {name: getattr(args, name) for name in ("context", "threads", "kv", "backend", "cache")}
    return options | {"weights": nearest_weights(args.weights)}


def nearest_weights(name: str | None) -> str | None:
    """Return the kind of weights that is nearest to a name, saying so on stderr where it is another one."""
    from nearlight.models.weight_formats import nearest_kind, said_of

    if name is None:
        return None
    if (note := said_of(name)) is not None:
        print(f"nearlight: {note}", file=sys.stderr)
    return nearest_kind(name)


_POLICY = (
    ("--temperature", number, "T", "0 is greedy; higher is more varied (also --temp)"),
    ("--top-k", whole_number, "K", "choose among the K most probable tokens"),
    ("--top-p", number, "P", "… among the most probable that together have probability P"),
    ("--min-p", number, "P", "… among those at least P times as probable as the best"),
    ("--repetition-penalty", number, "X", "above 1 discourages tokens seen before"),
    ("--presence-penalty", number, "X", "discourages tokens of the answer so far"),
    ("--frequency-penalty", number, "X", "… in proportion to their number"),
    ("--seed", whole_number, "N", "same seed, same tokens"),
)


def add_decoding(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how tokens are chosen; defaults come from the package's generation_config."""
    group = parser.add_argument_group("decoding (defaults come from the model)")
    for flag, kind, metavar, text in _POLICY:
        group.add_argument(flag, type=kind, metavar=metavar, help=text)
    group.add_argument("--temp", dest="temperature", type=number, help=argparse.SUPPRESS)
    group.add_argument(
        "--logit-bias", action="append", type=_bias, metavar="ID=X", help="add X to a token's logit (repeatable)"
    )
    group.add_argument("-n", "--max-tokens", type=token_count, metavar="N", help="tokens of the answer at most")
    group.add_argument(
        "--stop",
        action="append",
        type=_stop,
        metavar="TEXT",
        help=r"end before TEXT (repeatable; \n is a line end)",
    )
    group.add_argument(
        "--think", action=argparse.BooleanOptionalAction, help="switch thinking on or off where the model can"
    )
    group.add_argument("--effort", dest="think", choices=LEVELS, help="how hard to think, where the model knows levels")
    group.add_argument("--thinking-budget", type=token_count, metavar="N", help="tokens of thinking at most")


def decoding_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return those flags as keyword arguments of `LanguageModel.stream`; what was not given is left out."""
    names = [flag.removeprefix("--").replace("-", "_") for flag, *_ in _POLICY]
    names += ["max_tokens", "think", "thinking_budget", "stop"]
    options = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.logit_bias:
        options["logit_bias"] = dict(args.logit_bias)
    return options


def _bias(text: str) -> tuple[int, float]:
    token, separator, value = text.partition("=")
    try:
        if separator:
            return int(token), float(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected TOKEN_ID=NUMBER, found {text!r}")


def _stop(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("expected a text to stop at, found nothing")
    return unescaped(text)


def unescaped(text: str) -> str:
    r"""Turn \n, \t and \\ into what they stand for: shells make real line ends awkward to type."""
    parts = text.split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\t", "\t") for part in parts)
