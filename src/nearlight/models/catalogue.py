"""Models by name without their weights: published configs as data, for planning before a download.

Each entry of `catalogue.json` is a repository of the Hugging Face hub with its config.json under current keys, cut down
to what decides shapes, and the published number of parameters, which a test holds the families to. `names` are what
people call it, where that is not the repository's own name; `also` has repositories of the same shape, with the values
in which their configs differ; `weights` is the format it is published in, where that is not bf16. Gemma 3 and 4,
Ministral 3, Llama 4 and Qwen3.5 are their text part, without those for pictures and sounds; Gemma 4 without keys and
values that no layer uses, Qwen3.5 without the layer that guesses further tokens. Rotations of longrope, whose factors
no size depends on, stand as plain ones. Entries whose family is not written yet are there to say so.

`checked` says what an entry was held against in November 2026: "config", a copy of its config.json; "total", the
published number of parameters, to the last of them (of Qwen3.5 with what is left out here); "tables", only published
tables with rounded figures.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

from nearlight.errors import RequestError
from nearlight.models import FAMILIES, not_written, why_not_run

_VARIANT = re.compile(r"-(hf|instruct|chat|base|it|pt|thinking|\d{4}|v0\.\d|gguf)$")
_SIZE = re.compile(r"-(?=e?\d+(?:\.\d+)?[bm]\b|\d+x|micro|mini|nemo|small|medium|large|xl)")


@dataclass(frozen=True)
class CatalogueEntry:
    """A published model.

    `n_parameters` is what its publisher says, None where that was not looked up; `checked` what the entry was held
    against; `weights` the format it is published in.
    """

    repository: str
    config: Mapping[str, Any]
    n_parameters: int | None
    checked: str | None = None
    names: tuple[str, ...] = ()
    also: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    weights: str = "bf16"

    @property
    def name(self) -> str:
        return self.repository.rpartition("/")[2]

    @property
    def short(self) -> str:
        """The name that people type: "qwen3-0.6b"."""
        return self.names[0] if self.names else _short(self.name)

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])

    @property
    def supported(self) -> bool:
        """Whether it can be planned."""
        return self.model_type in FAMILIES

    @property
    def why_not_run(self) -> str | None:
        """Why nearlight does not run it, in one sentence; None if it does."""
        return why_not_run(self.model_type)

    @property
    def series(self) -> str:
        return series_of(self.short)


@cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Return all entries by short name ("qwen3-0.6b"), in the order of the file: by series, then by size."""
    text = resources.files("nearlight.models").joinpath("catalogue.json").read_text("utf-8")
    entries = [
        CatalogueEntry(
            repository,
            row["config"],
            row["parameters"],
            row["checked"],
            tuple(row.get("names", ())),
            row.get("also", {}),
            row.get("weights", "bf16"),
        )
        for repository, row in json.loads(text).items()
    ]
    return {entry.short: entry for entry in entries}


def entry_named(name: str) -> CatalogueEntry | None:
    """Return the entry that has just this name, in any spelling, as the repository that is meant; None if none has.

    For a download: unlike for a plan, a mark like "-Instruct" must be the repository's own.
    """
    return _by_plain_name().get(_plain(name.rpartition("/")[2]))


def in_catalogue(name: str) -> bool:
    return _look_up(name) is not None


def find_in_catalogue(name: str) -> CatalogueEntry:
    """Return the entry of a name: a hub id or its last part, in any spelling, with or without "-Instruct" and such.

    A name of one of several repositories of a shape gives the entry as that repository's.
    Raises: RequestError that suggests the nearest names; UnsupportedError when the family is not written yet.
    """
    entry = _look_up(name)
    if entry is None:
        by_plain = {_plain(short): short for short in catalogue()}
        near = difflib.get_close_matches(_plain(_short(name)), by_plain, n=3, cutoff=0.6)
        raise RequestError(
            "no model of this name in the catalogue",
            expected=("perhaps " + ", ".join(by_plain[plain] for plain in near)) if near else "a name like qwen3-0.6b",
            found=repr(name),
            advice="`nearlight plan --list` has all names",
        )
    if not entry.supported:
        raise not_written(entry.model_type, where=entry.name)
    return entry


def series_of(name: str) -> str:
    """Return a name without the size: "qwen3" of "Qwen3-0.6B"."""
    return _SIZE.split(_short(name))[0]


def _look_up(name: str) -> CatalogueEntry | None:
    """Find a name as it is written, else with fewer and fewer of the marks of variants."""
    return next(filter(None, map(entry_named, _shorter(name))), None)


@cache
def _by_plain_name() -> Mapping[str, CatalogueEntry]:
    found: dict[str, CatalogueEntry] = {}
    for entry in catalogue().values():
        found |= {_plain(name): entry for name in (entry.name, *entry.names)}
        for repository, changes in entry.also.items():
            variant = replace(entry, repository=repository, config={**entry.config, **changes})
            found[_plain(repository.rpartition("/")[2])] = variant
    for short, entry in catalogue().items():
        found.setdefault(_plain(short), entry)
    return found


def _shorter(name: str) -> Iterator[str]:
    """Yield a name in lower case and without its owner, then with one mark of a variant less each time."""
    short = name.rpartition("/")[2].lower().replace("_", "-").removeprefix("meta-")
    yield short
    while (cut := _VARIANT.sub("", short)) != short:
        short = cut
        yield short


def _short(name: str) -> str:
    """Return a name in lower case, without owner and without the marks of variants that share a shape."""
    return list(_shorter(name))[-1]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower().replace("_", "-").removeprefix("meta-"))
