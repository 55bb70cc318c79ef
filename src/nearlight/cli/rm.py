"""`nearlight rm`: delete downloaded models, after asking."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from nearlight.cli import terminal
from nearlight.cli.arguments import Parser
from nearlight.cli.pull import require_id
from nearlight.errors import RequestError
from nearlight.package import hub
from nearlight.quantities import bytes_text

_EXAMPLES = """\
  nearlight rm Qwen/Qwen3-0.6B
  nearlight rm unsloth/Qwen3-0.6B-GGUF:Q4_K_M --yes    one file of the repository only"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code: 1 where the person said no."""
    parser = Parser("rm", "Delete a downloaded model.", _EXAMPLES)
    parser.add_argument("id", metavar="ID", help="as `nearlight list` shows it")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    args = parser.parse_args(arguments)
    id = require_id(args.id)
    n_bytes = hub.size(id)
    if not args.yes and not _agreed(id, n_bytes):
        print("nothing deleted", file=sys.stderr)
        return 1
    freed = hub.remove(id)
    print(
        json.dumps({"id": str(id), "freed_bytes": freed}) if args.json else f"deleted {id}, {bytes_text(freed)} freed"
    )
    return 0


def _agreed(id: hub.HubId, n_bytes: int) -> bool:
    if not terminal.is_terminal(sys.stdin):
        raise RequestError("rm asks before deleting, and nobody is there to answer", advice="say --yes")
    print(f"delete {id}, {bytes_text(n_bytes)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
