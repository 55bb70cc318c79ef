"""What a model's name means where its weights are not needed: a package on this machine, else a published model.

`plan` and `inspect` take the same names by this one rule.
"""

from __future__ import annotations

from pathlib import Path

from nearlight.cli import source
from nearlight.models.catalogue import CatalogueEntry, find_in_catalogue, in_catalogue
from nearlight.package import hub
from nearlight.package.huggingface_config import read_config


def find_named(name: str | None) -> Path | CatalogueEntry:
    """Return what is on this machine under a name, else the catalogue's entry; None is the embedded model.

    A config.json is an entry of its own.
    Raises: RequestError where it is in neither; UnsupportedError for a family that cannot be planned.
    """
    if name is not None and name.endswith("config.json") and Path(name).expanduser().is_file():
        directory = Path(name).expanduser().resolve().parent
        return CatalogueEntry(directory.name, read_config(directory), None)
    if name is None or name == source.EMBEDDED or Path(name).expanduser().exists():
        return source.find_model(name)
    id = hub.parse_id(name)
    path = hub.cached(id) if id else None
    if path is not None:
        return path
    if not in_catalogue(name) and (id or source.looks_like_model(name)):
        source.find_model(name, offline=True)  # says what is missing: a file, or a download
    return find_in_catalogue(name)
