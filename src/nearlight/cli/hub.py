"""`nearlight pull`, `list` and `rm`: the models in the Hugging Face hub's cache."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime

from nearlight.cli.arguments import Parser
from nearlight.cli.names import download
from nearlight.errors import RequestError
from nearlight.loading.source import repository_named
from nearlight.package import hub
from nearlight.quantities import bytes_text
from nearlight.terminal.table import table
from nearlight.terminal.tty import is_terminal
from nearlight.terminal.wrapping import say

_PULL = """\
  nearlight pull Qwen/Qwen3-0.6B
  nearlight pull qwen3-0.6b                        the same, by its name in the catalogue
  nearlight pull unsloth/Qwen3-0.6B-GGUF:Q4_K_M    one file of many, by the part of its name that tells it

Only what a model needs is downloaded: config, safetensors (or the GGUF file), tokenizer, templates. An interrupted
download goes on where it stopped. HF_HOME sets where models are kept, HF_TOKEN opens private and gated ones."""

_LIST = """\
  nearlight list
  nearlight list --json | jq -r '.[].id'

Models that other programs downloaded into the hub's cache are listed too; "other" are those nearlight cannot run."""

_RM = """\
  nearlight rm Qwen/Qwen3-0.6B
  nearlight rm unsloth/Qwen3-0.6B-GGUF:Q4_K_M --yes    one file of the repository only"""


def pull(arguments: Sequence[str]) -> int:
    """Download a model; return the exit code."""
    parser = Parser("pull", "Download a model from the Hugging Face hub.", _PULL)
    parser.add_argument("id", metavar="ID", help="org/name, or org/name:FILE for one file of a GGUF repository")
    args = parser.parse_args(arguments)
    id = _require_id(args.id)
    path = download(id)
    if args.json:
        print(json.dumps({"id": str(id), "path": str(path)}))
    else:
        say(f"run it with: nearlight run {id}")
        print(path)
    return 0


def show(arguments: Sequence[str]) -> int:
    """List the downloaded models; return the exit code."""
    args = Parser("list", "List the downloaded models.", _LIST).parse_args(arguments)
    models = hub.cached_models()
    if args.json:
        print(json.dumps([_as_json(model) for model in models]))
    elif not models:
        say(f"no models in {hub.cache_directory()}; `nearlight pull org/name` downloads one")
    else:
        rows = [(str(model.id), model.kind, bytes_text(model.n_bytes), _day(model.used)) for model in models]
        print(table(("model", "kind", "size", "last used"), rows, right=(2,), stream=sys.stdout))
    return 0


def remove(arguments: Sequence[str]) -> int:
    """Delete a downloaded model, after asking; return the exit code: 1 where the person said no."""
    parser = Parser("rm", "Delete a downloaded model.", _RM)
    parser.add_argument("id", metavar="ID", help="as `nearlight list` shows it")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    args = parser.parse_args(arguments)
    id = _require_id(args.id)
    n_bytes = hub.size(id)
    if not args.yes and not _agreed(id, n_bytes):
        print("nothing deleted", file=sys.stderr)
        return 1
    freed = hub.remove(id)
    done = f"deleted {id}, {bytes_text(freed)} freed"
    print(json.dumps({"id": str(id), "freed_bytes": freed}) if args.json else done)
    return 0


def _require_id(text: str) -> hub.HubId:
    """Read a hub id, or a name of the catalogue. Raises: RequestError for anything else."""
    id = hub.parse_id(text) or repository_named(text)
    if id is None:
        expected = "org/name, org/name:FILE, or a name of the catalogue like qwen3-0.6b"
        raise RequestError("not a hub id", where=text, expected=expected)
    return id


def _as_json(model: hub.CachedModel) -> dict[str, object]:
    known = {"id": str(model.id), "kind": model.kind, "bytes": model.n_bytes, "path": str(model.path)}
    return known | {"last_used": model.used}


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d") if seconds else "?"


def _agreed(id: hub.HubId, n_bytes: int) -> bool:
    if not is_terminal(sys.stdin):
        raise RequestError("rm asks before deleting, and nobody is there to answer", advice="say --yes")
    print(f"delete {id}, {bytes_text(n_bytes)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
