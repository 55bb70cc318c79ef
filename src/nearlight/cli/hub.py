"""`nearlight pull`: download a model into the Hugging Face hub's cache."""

from __future__ import annotations

import json
from collections.abc import Sequence

from nearlight.cli import source
from nearlight.cli.arguments import Parser
from nearlight.cli.wrapping import say
from nearlight.engine.source import repository_named
from nearlight.errors import RequestError
from nearlight.package import hub

_EXAMPLES = """\
  nearlight pull Qwen/Qwen3-0.6B
  nearlight pull qwen3-0.6b                        the same, by its name in the catalogue
  nearlight pull unsloth/Qwen3-0.6B-GGUF:Q4_K_M    one file of many, by the part of its name that tells it

Only what a model needs is downloaded: config, safetensors (or the GGUF file), tokenizer, templates. An interrupted
download goes on where it stopped. HF_HOME sets where models are kept, HF_TOKEN opens private and gated ones."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    parser = Parser("pull", "Download a model from the Hugging Face hub.", _EXAMPLES)
    parser.add_argument("id", metavar="ID", help="org/name, or org/name:FILE for one file of a GGUF repository")
    args = parser.parse_args(arguments)
    id = require_id(args.id)
    path = source.download(id)
    if args.json:
        print(json.dumps({"id": str(id), "path": str(path)}))
    else:
        say(f"run it with: nearlight run {id}")
        print(path)
    return 0


def require_id(text: str) -> hub.HubId:
    """Read a hub id, or a name of the catalogue. Raises: RequestError for anything else."""
    id = hub.parse_id(text) or repository_named(text)
    if id is None:
        expected = "org/name, org/name:FILE, or a name of the catalogue like qwen3-0.6b"
        raise RequestError("not a hub id", where=text, expected=expected)
    return id
