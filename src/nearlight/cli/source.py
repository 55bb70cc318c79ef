"""What MODEL and PROMPT mean: a path, a hub id, or the embedded model; a text, or what is piped in.

`run` takes both as bare words, so a single word has to be told apart: what looks like a path or a hub id is a model,
everything else is a prompt for the embedded model. `-m` and `-p` leave nothing to guess.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nearlight
from nearlight.cli.progress import ProgressBar
from nearlight.cli.units import bytes_text
from nearlight.cli.wrapping import say
from nearlight.errors import RequestError
from nearlight.package import hub

EMBEDDED = "pico"
STDIN = "-"
_TAGGED_NAME = re.compile(r"[\w.-]+:[\w.-]+", re.ASCII)
"""How another tool names models (`qwen3:0.6b`); a prompt is hardly ever written so."""

_PATH = re.compile(
    r"""  [^\n(){};=*<>"']+ \.(gguf|safetensors)           # spaces may be in it, but none of code's punctuation
        | (~|\.\.?)? / \w [^\n(){};=*<>"']*             # begins as only paths do
        | [^\s(){}\[\];:=*<>"']* / [^\s(){}\[\];:=*<>"']* # one word with a slash in it
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Words:
    """What the words of a `run` command were taken to be; `guessed` where a single word could mean either."""

    model: str | None
    prompt: str | None
    reads_stdin: bool = False
    guessed: bool = False


def sort_words(words: Sequence[str], model: str | None = None, prompt: str | None = None) -> Words:
    """Tell model and prompt apart; `model` and `prompt` are what the flags gave.

    Raises: RequestError where words are left over, or one of the two is given twice.
    """
    rest = list(words)
    reads_stdin = rest[-1:] == [STDIN]
    if reads_stdin:
        rest.pop()
    guessed = False
    if rest and model is None:
        if len(rest) > 1 or prompt is not None or looks_like_model(rest[0]):
            model = rest.pop(0)
        else:
            guessed = not re.search(r"\s|[^\w:.-]", rest[0])
    if rest and prompt is None:
        prompt = rest.pop(0)
    if rest:
        shown = " ".join(rest)[:40]
        raise RequestError("too many words", found=repr(shown), advice='put quotes around the prompt: run MODEL "…"')
    return Words(model, prompt, reads_stdin, guessed)


def looks_like_model(word: str) -> bool:
    """Whether a word is meant as a model: a hub id, an existing path, or one that was mistyped."""
    return bool(hub.parse_id(word) or _TAGGED_NAME.fullmatch(word) or _PATH.fullmatch(word)) or _exists(word)


def _exists(word: str) -> bool:
    try:
        return bool(word) and Path(word).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a null character
        return False


def read_stdin() -> str:
    """Read a prompt from stdin; one line end at its end is the shell's, not the prompt's."""
    text = sys.stdin.buffer.read().decode("utf-8", errors="replace")
    return text.removesuffix("\n").removesuffix("\r")


def find_model(name: str | None, *, offline: bool = False) -> Path:
    """Return the path of a model, downloading it if its hub id is new here. None is the embedded model.

    Raises: RequestError where there is no such model, or `offline` forbids to download it.
    """
    if name is None or (name == EMBEDDED and not Path(name).exists()):
        return _embedded()
    path = Path(name).expanduser()
    if path.exists():
        return path
    id = hub.parse_id(name)
    if id is None or (name.endswith(".gguf") and id.choice is None):
        raise RequestError("no such model", where=name, expected="a directory, a .gguf file, or a hub id like org/name")
    found = hub.cached(id)
    if found is not None:
        return found
    if offline:
        raise RequestError("not on this machine", where=id, advice=f"`nearlight pull {id}` downloads it")
    say(f"{id} is no path here, and not downloaded yet")
    return download(id)


def download(id: hub.HubId) -> Path:
    """Download a model, saying so."""
    say(f"downloading {id} from the Hugging Face hub")
    with ProgressBar(str(id), bytes_text, delay_s=0) as bar:
        return hub.pull(id, bar.update)


def _embedded() -> Path:
    path = Path(nearlight.__file__).parent / EMBEDDED
    if not path.is_dir():
        raise RequestError("no model given, and none is embedded in this installation", advice="name one: run MODEL …")
    return path
