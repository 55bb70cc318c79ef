"""`nearlight bench`: how fast a model is here, beside what is possible and what was predicted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nearlight.bench import ledger
from nearlight.bench.measure import Options, measure
from nearlight.bench.model import ModelSpec, packaged, synthetic
from nearlight.bench.peers.process import unavailable
from nearlight.bench.results import BenchResult
from nearlight.bench.runner import sweep
from nearlight.cli import bench_text, names
from nearlight.cli.arguments import (
    KV_HELP,
    Parser,
    add_downloading,
    nearest_weights,
    require_writable,
    thread_count,
    token_count,
    whole_number,
)
from nearlight.engine.engine import STEP_ROWS
from nearlight.errors import RequestError
from nearlight.terminal.progress import ProgressBar
from nearlight.terminal.wrapping import say

_EXAMPLES = """\
  nearlight bench model.gguf                             pp512 and tg128, five times each
  nearlight bench --synthetic qwen3-0.6b --weights w4    a model that is not downloaded: random weights
  nearlight bench model.gguf -p 64,128,256,512 -n 0      prefill speed against the prompt's length
  nearlight bench model.gguf -p 0 -n 64 -d 0,1024,4096   decode speed against the context's length
  nearlight bench model.gguf -d 0,1024,4096 --plot f.png   measured and predicted, drawn
  nearlight bench model.gguf --explain                   where the time goes
  nearlight bench model.gguf --vs llama.cpp              peers on the same model, in turns
  nearlight bench --accuracy ledger.jsonl                a page on how good predictions were

Neither tokenization nor sampling is inside any figure."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    args = _parser().parse_args(arguments)
    if args.accuracy:
        print(ledger.accuracy_page(ledger.read(Path(args.accuracy))), end="")
        return 0
    if args.plot:
        from nearlight.plot import check_target

        check_target(args.plot)
    for path in filter(None, (args.plot, args.record)):
        require_writable(path)
    workloads = sweep(_flat(args.n_prompt, [512]), _flat(args.n_gen, [128]), _flat(args.n_depth, [0]))
    peer_models = dict(args.peer_model)
    peers = _available(_flat(args.vs, []), peer_models)
    results = []
    with _Bars() as bars:
        for spec in _specs(args):
            for threads in _flat(args.threads, [None]):
                options = Options(
                    repetitions=args.repetitions,
                    threads=threads,
                    chunk=args.chunk,
                    calibrated=not args.no_calibration,
                    explained=args.explain,
                    peers=peers,
                    peer_models=peer_models,
                )
                results.append(measure(spec, workloads, options, bars.update))
    try:
        if args.record:
            for result in results:
                ledger.append(Path(args.record), result)
    finally:  # what was measured is not lost with the ledger
        _show(results, "json" if args.json else args.output)
    if args.plot:
        from nearlight.plot import bench_figure, draw

        draw(bench_figure([row.as_json() for result in results for row in result.rows]), args.plot)
        print(f"drawn: {args.plot}", file=sys.stderr)
    return 0


def _parser() -> Parser:
    parser = Parser("bench", "Measure a model's speed, beside its limit here and its prediction.", _EXAMPLES)
    parser.add_argument("model", nargs="?", help="a directory, a .gguf file or a hub id (default: the embedded model)")
    add_downloading(parser)
    what = parser.add_argument_group("what to measure (lists with commas are swept, as by llama-bench)")
    what.add_argument("-p", "--n-prompt", action="append", type=_numbers, metavar="N", help="prompts of N tokens (512)")
    what.add_argument("-n", "--n-gen", action="append", type=_numbers, metavar="N", help="N generated tokens (128)")
    what.add_argument("-d", "--n-depth", action="append", type=_numbers, metavar="N", help="after N tokens (0)")
    what.add_argument("-r", "--repetitions", type=whole_number, default=5, metavar="N", help="times each (5)")
    what.add_argument("-t", "--threads", action="append", type=_threads, metavar="N", help="threads (physical cores)")
    what.add_argument(
        "--chunk", type=_chunk, default=STEP_ROWS, metavar="N", help=f"rows of a prefill step ({STEP_ROWS}), or best"
    )
    model = parser.add_argument_group("the model")
    model.add_argument("--synthetic", metavar="NAME", help="random weights of a catalogue name or a config.json")
    model.add_argument(
        "--weights", action="append", type=_words, metavar="FORMAT", help="bf16, w8, w6 or w4; synthetic: any (q4_k …)"
    )
    model.add_argument("--kv", metavar="FORMAT", help=KV_HELP)
    more = parser.add_argument_group("what to tell")
    more.add_argument("-o", "--output", choices=bench_text.FORMATS, default="md", help="format of the rows (md)")
    more.add_argument("--explain", action="store_true", help="where a step's time goes, and what could be gained")
    more.add_argument("--vs", action="append", type=_words, metavar="PEER", help="llama.cpp, transformers, openvino")
    more.add_argument(
        "--peer-model", action="append", type=_peer_model, default=[], metavar="PEER=PATH", help="a peer's own file"
    )
    more.add_argument("--no-calibration", action="store_true", help="predict the limit itself")
    more.add_argument("--plot", metavar="FILE", help="draw measured, predicted and limit: .png, .svg or .html")
    more.add_argument("--record", metavar="FILE", help="append the rows to a ledger (JSON lines)")
    more.add_argument("--accuracy", metavar="FILE", help="only make a page of Markdown from a ledger")
    return parser


def _specs(args: argparse.Namespace) -> list[ModelSpec]:
    """Describe the model in every format of weights that was asked for."""
    weights = _flat(args.weights, [None])
    if args.synthetic is None:
        path = names.find_model(args.model, offline=args.offline, assent=args.yes)
        return [packaged(path, nearest_weights(name), args.kv) for name in weights]
    if args.model is not None:
        raise RequestError("a model and --synthetic", advice="give one of them")
    return [synthetic(args.synthetic, name or "bf16", args.kv) for name in weights]


def _available(asked: Sequence[str], models: dict[str, Path]) -> list[str]:
    """Return the peers that can take part, and say of the others why not."""
    found = []
    for name in asked:
        reason = unavailable(name, models)
        if reason:
            say(f"nearlight: {reason}")
        else:
            found.append(name)
    return found


def _show(results: Sequence[BenchResult], format: str) -> None:
    rows = [row for result in results for row in result.rows]
    print(bench_text.as_rows(rows, format))
    if format != "md":
        return
    for row in rows:
        if row.step:
            print("\n" + bench_text.explanation_text(row.step))
    say("\n" + bench_text.notes(rows, [result.memory for result in results]))


class _Bars:
    """A progress bar for each thing that is done, one after the other."""

    def __init__(self) -> None:
        self._label = ""
        self._bar: ProgressBar | None = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def update(self, label: str, done: int, total: int) -> None:
        if label != self._label:
            self.close()
            self._label, self._bar = label, ProgressBar(label, None, delay_s=0)
        if self._bar:
            self._bar.update(done, total)

    def close(self) -> None:
        if self._bar:
            self._bar.close()


def _flat(lists: Sequence[list[Any]] | None, default: list[Any]) -> list[Any]:
    """Join the values of a flag that may be given several times."""
    return default if lists is None else [value for values in lists for value in values]


def _numbers(text: str) -> list[int]:
    try:
        return [token_count(part) for part in text.split(",")]
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected numbers like 64,128 or 4k, found {text!r}") from None


def _threads(text: str) -> list[int]:
    return [thread_count(part) for part in text.split(",")]


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _chunk(text: str) -> int | None:
    """Read a number of rows; None for "best"."""
    if text == "best":
        return None
    try:
        return token_count(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected a number of rows or best, found {text!r}") from None


def _peer_model(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not path:
        raise argparse.ArgumentTypeError(f"expected PEER=PATH, found {text!r}")
    return name, Path(path).expanduser()
