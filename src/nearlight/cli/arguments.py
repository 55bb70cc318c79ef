"""Flags that commands share, and a parser whose complaints are one line like any other."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from nearlight.cli.help_text import HelpFormatter
from nearlight.errors import RequestError

BASE_MAX_TOKENS = 256
"""A base model does not know when to stop; without --max-tokens, this is when."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises RequestError instead of printing its usage and leaving."""

    def __init__(self, command: str, description: str, examples: str) -> None:
        super().__init__(
            prog=f"nearlight {command}",
            description=description,
            epilog="examples:\n" + examples,
            formatter_class=HelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--json", action="store_true", help="print the result as JSON")

    def error(self, message: str) -> NoReturn:
        raise RequestError(message, advice=f"see `{self.prog} --help`")


def add_loading(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how a model is loaded: those of `nearlight.load`."""
    group = parser.add_argument_group("loading")
    group.add_argument("-c", "--context", type=int, metavar="N", help="tokens of context (default: the model's own)")
    group.add_argument("-t", "--threads", type=int, metavar="N", help="threads (default: physical cores)")
    group.add_argument("--weights", metavar="FORMAT", help="re-quantize at load: bf16, w8, w6 or w4")
    group.add_argument("--kv", metavar="FORMAT", help="format of the KV cache: f16 (default), q8 or f32")
    group.add_argument("--backend", default="auto", metavar="NAME", help="auto (default), cpu or reference")
    group.add_argument(
        "--no-cache", dest="cache", action="store_false", help="neither read nor keep repacked weights (see `cache`)"
    )
    group.add_argument("--offline", action="store_true", help="never download; use what is on this machine")


def loading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return those flags as keyword arguments of `nearlight.load`."""
    return {name: getattr(args, name) for name in ("context", "threads", "weights", "kv", "backend", "cache")}


_POLICY = (
    ("--temperature", float, "T", "0 is greedy; higher is more varied"),
    ("--top-k", int, "K", "choose among the K most probable tokens"),
    ("--top-p", float, "P", "… among the most probable that together have probability P"),
    ("--min-p", float, "P", "… among those at least P times as probable as the best"),
    ("--repetition-penalty", float, "X", "above 1 discourages tokens seen before"),
    ("--presence-penalty", float, "X", "discourages tokens of the answer so far"),
    ("--frequency-penalty", float, "X", "… in proportion to their number"),
    ("--seed", int, "N", "same seed, same tokens"),
)


def add_decoding(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how tokens are chosen; defaults come from the package's generation_config."""
    group = parser.add_argument_group("decoding (defaults come from the model)")
    for flag, kind, metavar, text in _POLICY:
        group.add_argument(flag, type=kind, metavar=metavar, help=text)
    group.add_argument(
        "--logit-bias", action="append", type=_bias, metavar="ID=X", help="add X to a token's logit (repeatable)"
    )
    group.add_argument("-n", "--max-tokens", type=int, metavar="N", help="tokens of the answer at most")
    group.add_argument(
        "--stop",
        action="append",
        type=_unescaped,
        metavar="TEXT",
        help=r"end before TEXT (repeatable; \n is a line end)",
    )
    group.add_argument(
        "--think", action=argparse.BooleanOptionalAction, help="switch thinking on or off where the model can"
    )
    group.add_argument("--thinking-budget", type=int, metavar="N", help="tokens of thinking at most")


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


def _unescaped(text: str) -> str:
    r"""Turn \n, \t and \\ into what they stand for: shells make real line ends awkward to type."""
    parts = text.split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\t", "\t") for part in parts)
