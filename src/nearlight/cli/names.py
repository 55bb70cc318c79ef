"""What MODEL and PROMPT mean on the command line: which word is which, what is piped in, what may be downloaded.

`run` takes both as bare words. A text with a space in it is a prompt; a word without is a model, and where there is no
such model it is refused, since a mistyped name would otherwise be completed by the embedded one. `-m` and `-p` leave
nothing to guess.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nearlight.cli import terminal
from nearlight.cli.progress import ProgressBar
from nearlight.cli.units import bytes_text
from nearlight.cli.wrapping import say
from nearlight.engine.source import EMBEDDED, embedded_model, existing_path, locate, not_downloaded, pull
from nearlight.errors import RequestError
from nearlight.package import hub

__all__ = ["EMBEDDED", "STDIN", "Words", "download", "find_model", "looks_like_model", "sort_words"]

STDIN = "-"
_TAGGED_NAME = re.compile(r"[\w.-]+:[\w.-]+", re.ASCII)
"""How another tool names models (`qwen3:0.6b`)."""

_PATH = re.compile(
    r"""  [^\n(){};=*<>"']+ \.(gguf|safetensors)           # spaces may be in it, but none of code's punctuation
        | (~|\.\.?)? / \w [^\n(){};=*<>"']*             # begins as only paths do
        | [^\s(){}\[\];:=*<>"']* / [^\s(){}\[\];:=*<>"']* # one word with a slash in it
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Words:
    """What the words of a `run` command were taken to be.

    `stdin_at` says where `-` stood: "before" or "after" the prompt, None for nowhere. `advice` is for a model that
    turns out to be none.
    """

    model: str | None
    prompt: str | None
    stdin_at: str | None = None
    advice: str | None = None


def sort_words(words: Sequence[str], model: str | None = None, prompt: str | None = None) -> Words:
    """Tell model and prompt apart; `model` and `prompt` are what the flags gave.

    Raises: RequestError where words are left over, or one of the two is given twice.
    """
    rest = [word for word in words if word != STDIN]
    stdin_at = ("after" if words[-1] == STDIN else "before") if len(rest) < len(words) else None
    advice = None
    if rest and model is None and (len(rest) > 1 or prompt is not None or _is_model(rest[0])):
        model = rest.pop(0)
        if prompt is None and not looks_like_model(model):
            quoted = shlex.quote(" ".join((model, *rest))[:60])
            advice = f"as a prompt for {EMBEDDED}: nearlight run -p {quoted}"
    if rest and prompt is None:
        prompt = rest.pop(0)
    if rest:
        shown = " ".join(rest)[:40]
        raise RequestError("too many words", found=repr(shown), advice='put quotes around the prompt: run MODEL "…"')
    return Words(model, prompt, stdin_at, advice)


def _is_model(word: str) -> bool:
    """Whether a single word is meant as a model: one without a space, or what can only be a path."""
    return bool(word) and (not re.search(r"\s", word) or looks_like_model(word))


def looks_like_model(word: str) -> bool:
    """Whether a word can only be meant as a model: a hub id, an existing path, or one that was mistyped."""
    matches = hub.parse_id(word) or _TAGGED_NAME.fullmatch(word) or _PATH.fullmatch(word)
    return bool(matches) or existing_path(word) is not None


def find_model(name: str | None, *, offline: bool = False, assent: bool = False, advice: str | None = None) -> Path:
    """Return the path of a model, downloading it if its hub id is new here. None is the embedded model.

    What only the catalogue's name was given of is asked about first, unless `assent`. `advice` is added where there
    is no such model.
    Raises: RequestError where there is no such model, or it may not be downloaded.
    """
    if name is None:
        return embedded_model()
    place = locate(name, advice)
    if place.path is not None:
        return place.path
    assert place.id is not None
    if offline:
        raise RequestError("not on this machine", where=place.id, advice=f"`nearlight pull {place.id}` downloads it")
    if not place.by_name:
        say(f"{place.id} is no path here, and not downloaded yet")
    elif not assent:
        _ask(name, place.id)
    return download(place.id)


def _ask(name: str, id: hub.HubId) -> None:
    """Ask before gigabytes are fetched that nobody spelled out. Raises: RequestError where nobody agrees."""
    if not (terminal.is_terminal(sys.stdin) and terminal.is_terminal(sys.stderr)):
        raise not_downloaded(name, id)
    size = bytes_text(hub.download_size(id))
    print(f"{name} is {id} on the Hugging Face hub, {size}. Download it? [Y/n] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer or answer.strip().lower() not in ("", "y", "yes"):
        raise not_downloaded(name, id)


def download(id: hub.HubId) -> Path:
    """Download a model, saying so."""
    say(f"downloading {id} from the Hugging Face hub")
    with ProgressBar(str(id), bytes_text, delay_s=0) as bar:
        return pull(id, bar.update)
