"""What a person calls a model, and where that is: a path, the embedded model, or a repository of the hub.

The command line and `nearlight.load` find models by the same rules, in this order: a path that exists; the embedded
model's name; a hub id, downloaded or still to be; a name of the catalogue, which stands for its publisher's repository.
Nothing is guessed: a name that is none of these is refused, with the nearest ones.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nearlight.errors import RequestError
from nearlight.package import hub
from nearlight.package.hub_files import HubId

EMBEDDED = "pico"
_EXPECTED = "a directory, a .gguf file, a hub id like org/name, or a name of the catalogue like qwen3-0.6b"


@dataclass(frozen=True)
class Place:
    """Where a model is: `path` on this machine, or None where `id` has to be downloaded first.

    `by_name`: the catalogue says what the name stands for, nobody wrote the id.
    """

    path: Path | None
    id: HubId | None = None
    by_name: bool = False


def find_model(source: str | os.PathLike[str], progress: Callable[[int, int], None] | None = None) -> Path:
    """Return a model's path; one whose hub id is given is downloaded if need be, and `progress` is told the bytes.

    Raises: RequestError where there is no such model, or it stands in the catalogue and was not downloaded.
    """
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        raise RequestError("source", expected=_EXPECTED, found=repr(source)[:80])
    if not isinstance(source, str):
        return Path(source)
    place = locate(source)
    if place.path is not None:
        return place.path
    assert place.id is not None
    if place.by_name:
        raise not_downloaded(source, place.id)
    return pull(place.id, progress)


def pull(id: HubId, progress: Callable[[int, int], None] | None = None) -> Path:
    """Download a model, and return its path. Raises: as `hub.pull`, with near names where there is no such model."""
    try:
        return hub.pull(id, progress)
    except hub.NotOnTheHubError as error:
        near = _near(id.repository, [*_downloaded(), *_catalogue_names()])
        raise RequestError(str(error), advice=f"near it: {', '.join(near)}" if near else None) from error


def locate(name: str, advice: str | None = None) -> Place:
    """Say where the model of a name is, without downloading anything. `advice` is added where there is none.

    Raises: RequestError for what is no model's name, UnsupportedError for one that cannot be run.
    """
    path = existing_path(name)
    if path is not None:
        return Place(path)
    if name == EMBEDDED:
        return Place(embedded_model())
    id = hub.parse_id(name)
    if id is not None and (id.choice is not None or not name.endswith(".gguf")):
        found = hub.cached(id)
        if found is None and (beside := _near(name, _models_beside(name))):
            advice = f"if it is the hub's: `nearlight pull {id}`"
            raise RequestError("no such path", where=name, expected="perhaps " + ", ".join(beside), advice=advice)
        return Place(found, id)
    id = repository_named(name)
    if id is not None:
        return Place(hub.cached(id), id, by_name=True)
    near = _near(name, [*_models_beside(name), *_downloaded(), *_catalogue_names()])
    advices = ([f"near it: {', '.join(near)}"] if near else []) + ([advice] if advice else [])
    raise RequestError("no such model", where=name or repr(name), expected=_EXPECTED, advice="; ".join(advices) or None)


def embedded_model() -> Path:
    """Return the path of the embedded model. Raises: RequestError in an installation without it."""
    path = Path(__file__).parents[1] / EMBEDDED
    if not path.is_dir():
        raise RequestError("no model given, and none is embedded in this installation", advice="name one: run MODEL …")
    return path


def repository_named(name: str) -> HubId | None:
    """Return the repository that a name of the catalogue stands for, None for any other name, and for a path.

    "-instruct" and the like must be the repository's own: for a plan they make no difference, for an answer they do.
    Raises: UnsupportedError for a model that cannot be run yet.
    """
    from nearlight.models import not_written
    from nearlight.models.catalogue import entry_named

    entry = None if "/" in name else entry_named(name)
    if entry is None:
        return None
    if entry.why_not_run:
        raise not_written(entry.model_type, where=entry.name)
    return HubId(entry.repository)


def not_downloaded(name: str, id: HubId) -> RequestError:
    """Return the complaint about a model of the catalogue that is not on this machine."""
    return RequestError(f"{id} is not on this machine", where=name, advice=f"`nearlight pull {id}` downloads it")


def existing_path(name: str) -> Path | None:
    """Return the path that a name is, None where there is nothing at it."""
    try:
        path = Path(name).expanduser()
        return path if name and path.exists() else None
    except PermissionError:  # whoever opens it says so
        return path
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a null character
        return None


# -- near names --------------------------------------------------------------------------------------------------------


def _near(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three of the known names, those whose last part is most like that of `name`."""
    by_part = {_last_part(other): other for other in known}
    return [by_part[part] for part in difflib.get_close_matches(_last_part(name), by_part, n=3, cutoff=0.7)]


def _last_part(name: str) -> str:
    directory, _, part = name.rstrip("/").lower().rpartition("/")
    return part.partition(":")[0] if directory else part.replace(":", "-")


def _models_beside(name: str) -> list[str]:
    """List what is in the directory that a path leads to and may be a model: directories and .gguf files."""
    parent = existing_path(name.rstrip("/").rpartition("/")[0] or ("/" if name.startswith("/") else "."))
    try:
        entries = sorted(parent.iterdir()) if parent else []
        return [str(path) for path in entries if path.suffix == ".gguf" or (path / "config.json").exists()]
    except OSError:
        return []


def _downloaded() -> list[str]:
    return [str(model.id) for model in hub.cached_models() if model.kind != "other"]


def _catalogue_names() -> list[str]:
    from nearlight.models.catalogue import catalogue

    return list(catalogue())
