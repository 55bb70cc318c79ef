"""What the name of a model means: a path, a hub id, or a published model; and what may be downloaded for it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nearlight.errors import RequestError
from nearlight.loading.source import EMBEDDED, embedded_model, existing_path, locate, not_downloaded, pull
from nearlight.package import hub
from nearlight.quantities import bytes_text
from nearlight.terminal.progress import ProgressBar
from nearlight.terminal.tty import is_terminal
from nearlight.terminal.wrapping import say

if TYPE_CHECKING:
    from nearlight.models.catalogue import CatalogueEntry

__all__ = ["EMBEDDED", "download", "find_model", "find_named", "looks_like_model"]

_TAGGED_NAME = re.compile(r"[\w.-]+:[\w.-]+", re.ASCII)
"""How another tool names models (`qwen3:0.6b`)."""

_PATH = re.compile(
    r"""  [^\n(){};=*<>"']+ \.(gguf|safetensors)           # spaces may be in it, but none of code's punctuation
        | (~|\.\.?)? / \w [^\n(){};=*<>"']*             # begins as only paths do
        | [^\s(){}\[\];:=*<>"']* / [^\s(){}\[\];:=*<>"']* # one word with a slash in it
    """,
    re.VERBOSE,
)


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


def find_named(name: str | None) -> Path | CatalogueEntry:
    """Return what is on this machine under a name, else the catalogue's entry; None is the embedded model.

    A config.json is an entry of its own.
    Raises: RequestError where it is in neither; UnsupportedError for a family that cannot be planned.
    """
    from nearlight.models.catalogue import CatalogueEntry, find_in_catalogue, in_catalogue
    from nearlight.package.huggingface_config import read_config

    if name is not None and name.endswith("config.json") and Path(name).expanduser().is_file():
        directory = Path(name).expanduser().resolve().parent
        return CatalogueEntry(directory.name, read_config(directory), None)
    if name is None or name == EMBEDDED or Path(name).expanduser().exists():
        return find_model(name)
    id = hub.parse_id(name)
    path = hub.cached(id) if id else None
    if path is not None:
        return path
    if not in_catalogue(name) and (id or looks_like_model(name)):
        find_model(name, offline=True)  # says what is missing: a file, or a download
    return find_in_catalogue(name)


def _ask(name: str, id: hub.HubId) -> None:
    """Ask before gigabytes are fetched that nobody spelled out. Raises: RequestError where nobody agrees."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
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
