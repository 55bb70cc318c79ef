"""`nearlight cache`: the packed weights that are kept so that the next start only reads them; see, and clear."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nearlight.cli.arguments import Parser
from nearlight.errors import RequestError
from nearlight.loading.packed_cache import KEPT, Entry, PackedCache, default_cache
from nearlight.quantities import bytes_text
from nearlight.terminal.table import table
from nearlight.terminal.wrapping import say

if TYPE_CHECKING:
    from nearlight.loading.packed_model import PackedWeights

_EXAMPLES = """\
  nearlight cache                     what is kept, the last used first
  nearlight cache clear               delete all of it
  nearlight cache clear Qwen3-0.6B    one model's
  nearlight cache --json | jq '.total_bytes'

Weights are packed for the kernels as a model is loaded. Packed weights are kept where that took two seconds or more,
and two more for every 4 GB beyond the first 4: deleting them costs nothing but that time again. NEARLIGHT_CACHE names
another directory, NEARLIGHT_CACHE_BYTES how large it may grow (default: a fifth of the free space, at most 50 GB; 0
keeps none); what was not used for longest goes first. `run --no-cache` does without, once."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    parser = Parser("cache", "Show or clear the packed weights that are kept on disk.", _EXAMPLES)
    parser.usage = "nearlight cache [clear [NAME]] [options]"
    parser.add_argument("action", nargs="?", choices=("list", "clear"), default="list", help="list (default) or clear")
    parser.add_argument("name", nargs="?", metavar="NAME", help="a model, its path, or a file that is listed")
    args = parser.parse_args(arguments)
    cache = default_cache()
    if args.action == "clear":
        return _clear(cache, args.name, as_json=args.json)
    if args.name is not None:
        raise RequestError("too many words", found=repr(args.name), advice="`nearlight cache` lists everything")
    return _list(cache, as_json=args.json)


def _list(cache: PackedCache, *, as_json: bool) -> int:
    entries = [*cache.entries(), *cache.drafts()]
    total, bound = sum(entry.n_bytes for entry in entries), cache.bound()
    if as_json:
        shown = [_as_json(entry) for entry in entries]
        directory = str(cache.directory)
        print(json.dumps({"directory": directory, "total_bytes": total, "bound_bytes": bound, "entries": shown}))
    elif not entries:
        say(f"no packed weights are kept in {cache.directory}")
    else:
        rows = [(e.model or e.name, _weights(e), bytes_text(e.n_bytes), _minute(e.used)) for e in entries]
        print(table(("model", "weights", "size", "last used"), rows, right=(2,), stream=sys.stdout))
        say(f"packed weights: {bytes_text(total)} of at most {bytes_text(bound)} in {cache.directory}")
    return 0


def _clear(cache: PackedCache, name: str | None, *, as_json: bool) -> int:
    entries = [*cache.entries(), *cache.drafts()]
    chosen = [entry for entry in entries if name is None or name in (entry.name, entry.model, entry.source)]
    if name is not None and not chosen:
        known = ", ".join(dict.fromkeys(entry.model or entry.name for entry in entries)) or "nothing"
        raise RequestError(
            "no packed weights of this model", where=cache.directory, expected=f"one of {known}", found=repr(name)
        )
    for entry in chosen:
        cache.remove(entry)
    freed = sum(entry.n_bytes for entry in chosen)
    if as_json:
        print(json.dumps({"deleted": [entry.name for entry in chosen], "freed_bytes": freed}))
    else:
        print(f"packed weights: {len(chosen)} deleted, {bytes_text(freed)} freed")
    return 0


def _as_json(entry: Entry) -> dict[str, object]:
    return {
        "name": entry.name,
        "model": entry.model,
        "source": entry.source,
        "weights": entry.weights,
        "state": entry.state,
        "bytes": entry.n_bytes,
        "last_used": entry.used,
    }


def _weights(entry: Entry) -> str:
    return entry.weights if entry.state == KEPT else entry.state


def kept_line(weights: PackedWeights | None, *, verbose: bool) -> str | None:
    """Say that packed weights are being written; if `verbose`, also that they were read, or why they are not kept."""
    if weights is None:
        return None
    size = bytes_text(weights.n_bytes)
    if weights.state in ("writing", "written"):
        directory = re.sub(rf"^{re.escape(str(Path.home()))}(?=/|$)", "~", str(weights.path.parent))
        return f"keeping {size} of packed weights in {directory} (off: --no-cache)"
    if not verbose:
        return None
    if weights.state == "read":
        return f"packed weights: {size} read from {weights.path}"
    return f"packed weights are not kept: {weights.reason}"


def _minute(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
