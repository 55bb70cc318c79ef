"""`nearlight list`: the models in the Hugging Face hub's cache."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime

from nearlight.cli.arguments import Parser
from nearlight.cli.table import table
from nearlight.cli.wrapping import say
from nearlight.package import hub
from nearlight.quantities import bytes_text

_EXAMPLES = """\
  nearlight list
  nearlight list --json | jq -r '.[].id'

Models that other programs downloaded into the hub's cache are listed too; "other" are those nearlight cannot run."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    parser = Parser("list", "List the downloaded models.", _EXAMPLES)
    args = parser.parse_args(arguments)
    models = hub.cached_models()
    if args.json:
        print(json.dumps([_as_json(model) for model in models]))
    elif not models:
        say(f"no models in {hub.cache_directory()}; `nearlight pull org/name` downloads one")
    else:
        rows = [(str(model.id), model.kind, bytes_text(model.n_bytes), _day(model.used)) for model in models]
        print(table(("model", "kind", "size", "last used"), rows, right=(2,), stream=sys.stdout))
    return 0


def _as_json(model: hub.CachedModel) -> dict[str, object]:
    return {
        "id": str(model.id),
        "kind": model.kind,
        "bytes": model.n_bytes,
        "path": str(model.path),
        "last_used": model.used,
    }


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d") if seconds else "?"
