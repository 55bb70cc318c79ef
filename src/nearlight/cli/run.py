"""`nearlight run`: one answer to a prompt, or a chat.

The answer goes to stdout as it comes, everything about it to stderr: progress, thinking, the closing line. So a pipe
gets the answer and nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nearlight
from nearlight.cli import names
from nearlight.cli.arguments import (
    BASE_MAX_TOKENS,
    Parser,
    add_decoding,
    add_loading,
    decoding_options,
    loading_options,
    whole_number,
)
from nearlight.cli.prompt import compose, sort_words
from nearlight.cli.summary import as_json, closing_line
from nearlight.engine.options import check_options
from nearlight.errors import RequestError
from nearlight.quantities import bytes_text
from nearlight.terminal import tty
from nearlight.terminal.answer import PlainView, answer_view, thinking_view
from nearlight.terminal.keys import keys_hidden, suspendable
from nearlight.terminal.progress import ProgressBar
from nearlight.terminal.wrapping import say

if TYPE_CHECKING:
    from nearlight.engine.language_model import LanguageModel
    from nearlight.engine.stream import Stream

_EXAMPLES = """\
  nearlight run "def fibonacci(n):"              the embedded model completes code
  nearlight run Qwen/Qwen3-0.6B                  a chat (download: 1.5 GB, once)
  nearlight run ./model.gguf "Why is it dark?"   one answer
  nearlight run org/name:Q4_K_M -p "Hello"       one file of a GGUF repository
  git diff | nearlight run MODEL "Write a commit message."
  nearlight run MODEL -f notes.txt "Sum this up."
  nearlight run MODEL "Hello" --json | jq .timing

MODEL is a directory, a .gguf file, a hub id, or a name like qwen3-0.6b. A text with a space in it, without a model, is
a prompt for the embedded one; -m and -p say outright what is what, and behind -- nothing is a flag.
The prompt is made of files (-f), then what is piped in, then what was typed, with an empty line between them; - stands
for stdin and says where it goes. Numbers may end in k, M, G (thousands) or Ki, Mi, Gi (1024s).
Base models complete the prompt, and print it first; models with a chat template answer it. Thinking is shown dimmed on
a terminal and never goes to stdout."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    args = _parser().parse_args(arguments)
    words = sort_words(args.words, args.model, args.prompt)
    if args.logprobs is not None and not args.json:
        raise RequestError("--logprobs is for programs", advice="add --json")
    options = decoding_options(args) | {"logprobs": args.logprobs}
    check_options({name: value for name, value in options.items() if name != "think"})
    chats = words.prompt is None and not words.stdin_at and not args.file and tty.is_terminal(sys.stdin)
    if chats:
        _require_chat(args)
    elif args.trim:
        raise RequestError("--trim is for a chat", advice="leave it out, or leave out the prompt")
    path = names.find_model(words.model, offline=args.offline, assent=args.yes, advice=words.advice)
    prompt = None if chats else compose(words, args.file)
    if prompt is None:
        return _chat(args, path, words.model)
    return _answer(_load(args, path, words.model or path.name), prompt, args)


def _parser() -> argparse.ArgumentParser:
    parser = Parser("run", "Answer a prompt as it is typed out, or chat when there is no prompt.", _EXAMPLES)
    parser.usage = "nearlight run [MODEL] [PROMPT] [options]"
    parser.add_argument(
        "words", nargs="*", metavar="MODEL PROMPT", help="a directory, a .gguf file or a hub id; a text, or - for stdin"
    )
    parser.add_argument("-m", "--model", help="the model, without guessing")
    parser.add_argument("-p", "--prompt", help="the prompt, without guessing")
    parser.add_argument(
        "-f", "--file", action="append", default=[], metavar="FILE", help="a text to put before the prompt (repeatable)"
    )
    parser.add_argument("--system", metavar="TEXT", help="instructions that come before the chat")
    parser.add_argument(
        "--trim", action="store_true", help="in a chat whose context is full, drop the oldest turns, and say which"
    )
    parser.add_argument("--raw", action="store_true", help="complete the prompt as it is, without the chat template")
    parser.add_argument(
        "--echo", action=argparse.BooleanOptionalAction, help="print the prompt first (default: when completing)"
    )
    parser.add_argument(
        "--logprobs",
        type=whole_number,
        metavar="N",
        help="with --json: log-probabilities of each token and the N best others",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="the answer only: no progress, thinking or figures")
    parser.add_argument(
        "--no-markdown", dest="markdown", action="store_false", help="show answers as they are, without Markdown"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say more about the model and its packed weights")
    add_decoding(parser)
    add_loading(parser)
    return parser


def _require_chat(args: argparse.Namespace) -> None:
    """Raises: RequestError where a chat was asked for and cannot be."""
    if args.json:
        raise RequestError("--json needs a prompt", advice='give one: nearlight run MODEL "…" --json')
    if not tty.is_terminal(sys.stdout):
        raise RequestError("no prompt", advice='a chat needs a terminal; for one answer: nearlight run MODEL "…"')


def _chat(args: argparse.Namespace, path: Path, name: str | None) -> int:
    from nearlight.cli.chat.model import name_of
    from nearlight.cli.chat.repl import chat
    from nearlight.cli.chat.settings import Settings
    from nearlight.cli.chat.state import Opener

    find = partial(names.find_model, offline=args.offline, assent=args.yes)
    opener = Opener(find, partial(_load, args), completes=args.raw)
    said = ({} if args.markdown else {"markdown": False}) | ({"trim": True} if args.trim else {})
    settings = Settings(decoding_options(args) | said)
    return chat(opener, path, name_of(name or names.EMBEDDED, path), settings, system=args.system, quiet=args.quiet)


def _load(args: argparse.Namespace, path: Path, name: str) -> LanguageModel:
    with ProgressBar(f"loading {name.rstrip('/').rpartition('/')[2]}", bytes_text) as bar:
        model = nearlight.load(path, progress=None if args.quiet else bar.update, **loading_options(args))
    if args.verbose or (tty.is_terminal(sys.stderr) and not args.quiet):
        from nearlight.cli.cache import kept_line

        line = kept_line(model.packed_weights, verbose=args.verbose)
        if line:
            say(line, tty.DIM)
    if args.verbose:
        for warning in model.package.warnings:
            say(f"remark: {warning}")
        figures = f"context {model.context}, {model.n_threads} threads"
        say(f"{model.package.name}: {model.package.model_type}, {figures}")
    return model


def _answer(model: LanguageModel, prompt: str, args: argparse.Namespace) -> int:
    """Stream one answer, or print it whole as JSON."""
    completes = args.raw or not model.chats
    options = decoding_options(args) | {"raw": args.raw, "logprobs": args.logprobs}
    if completes:
        options.setdefault("max_tokens", BASE_MAX_TOKENS)
    with ProgressBar("reading the prompt", unit=" tokens") as bar:
        stream = model.stream(_messages(model, prompt, args), on_prefill=bar.update, **options)
        formatted = args.markdown and not completes
        shown = None if args.json else _Printer(quiet=args.quiet, formatted=formatted)
        if shown and ((completes and args.echo is not False) or args.echo):
            shown.prompt(prompt)
        with keys_hidden(), suspendable(stream.leave_out):
            interrupted = _show(stream, shown, bar)
    completion = stream.completion
    limit = model.limits(after=completion) if args.json or (completion.timing.decode_tok_s and not args.quiet) else None
    if args.json:
        print(json.dumps(as_json(model, completion, limit), ensure_ascii=False))
    elif not args.quiet:
        say(closing_line(completion, limit, verbose=args.verbose), tty.DIM)
    return 130 if interrupted else 0


def _messages(model: LanguageModel, prompt: str, args: argparse.Namespace) -> Any:
    if args.system is None:
        return prompt
    if args.raw or not model.chats:
        raise RequestError("--system needs a chat template", advice="leave it out, or put the text into the prompt")
    return [{"role": "system", "content": args.system}, {"role": "user", "content": prompt}]


def _show(stream: Stream, shown: _Printer | None, bar: ProgressBar) -> bool:
    """Show pieces as they come; return whether Ctrl-C ended them."""
    try:
        for piece in stream:
            bar.close()
            if shown:
                shown.piece(piece.text, piece.channel)
    except KeyboardInterrupt:
        stream.close()
        return True
    finally:
        bar.close()
        if shown:
            shown.end()
    return False


class _Printer:
    """Writes the answer to stdout, and thinking, dimmed, to stderr if that is a terminal."""

    def __init__(self, *, quiet: bool, formatted: bool) -> None:
        self._thinks = not quiet and tty.is_terminal(sys.stderr)
        self._thinking = thinking_view(sys.stderr)
        self._answer = answer_view(sys.stdout, formatted=formatted)
        self._channel = "answer"

    def prompt(self, text: str) -> None:
        """Print the prompt; what goes on with it is shown as it is."""
        plain = PlainView(sys.stdout)
        plain.push(text, tty.BOLD)
        self._answer = plain

    def piece(self, text: str, channel: str) -> None:
        if channel == "thinking" and not self._thinks:
            return
        if channel != self._channel:
            self._switch(channel)
        (self._thinking if channel == "thinking" else self._answer).push(text)

    def end(self) -> None:
        self._switch("answer")
        self._answer.finish()

    def _switch(self, channel: str) -> None:
        if self._channel == "thinking":
            self._thinking.finish()
            sys.stderr.write("\n")
            sys.stderr.flush()
        self._channel = channel
