"""Models by name without their weights: published configs as data, for planning before a download.

Each entry of `catalogue.json` is a repository of the Hugging Face hub with its config.json under current keys, cut down
to what decides shapes, and the published number of parameters, which a test holds the families to. Entries whose
family is not written yet are there to say so: `unsupported` instead of `unknown`.

`checked` says what an entry was held against in November 2026: "config", a copy of its config.json; "total", the
published number of parameters, to the last of them; "tables", only published tables with rounded figures.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from nearlight.errors import RequestError, UnsupportedError
from nearlight.models import COUNTED_FAMILIES, FAMILIES

_VARIANT = re.compile(r"-(hf|instruct|chat|base|it|pt|thinking|\d{4}|v0\.\d|gguf)$")


@dataclass(frozen=True)
class CatalogueEntry:
    """A published model. `n_parameters` is what its publisher says, None where its family is not written yet; `checked`
    what the entry was held against."""

    repository: str
    config: Mapping[str, Any]
    n_parameters: int | None
    checked: str | None = None

    @property
    def name(self) -> str:
        return self.repository.rpartition("/")[2]

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])

    @property
    def supported(self) -> bool:
        """Whether it can be planned."""
        return self.model_type in FAMILIES or self.model_type in COUNTED_FAMILIES

    @property
    def series(self) -> str:
        return series_of(self.name)


@cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Return all entries by short name ("qwen3-0.6b"), in the order of the file: by series, then by size."""
    text = resources.files("nearlight.models").joinpath("catalogue.json").read_text("utf-8")
    entries = (
        CatalogueEntry(repository, row["config"], row["parameters"], row.get("checked"))
        for repository, row in json.loads(text).items()
    )
    return {_short(entry.name): entry for entry in entries}


def in_catalogue(name: str) -> bool:
    return _plain(name) in _by_plain_name()


def find_in_catalogue(name: str) -> CatalogueEntry:
    """Return the entry of a name: a hub id or its last part, in any spelling, with or without "-Instruct" and such.

    Raises: RequestError that suggests the nearest names; UnsupportedError when the family is not written yet.
    """
    entry = _by_plain_name().get(_plain(name))
    if entry is None:
        by_plain = {_plain(short): short for short in catalogue()}
        near = difflib.get_close_matches(_plain(name), by_plain, n=3, cutoff=0.6)
        raise RequestError(
            "no model of this name in the catalogue",
            expected=("perhaps " + ", ".join(by_plain[plain] for plain in near)) if near else "a name like qwen3-0.6b",
            found=repr(name),
        )
    if not entry.supported:
        raise UnsupportedError(
            f"unsupported: {entry.name} is of the family {entry.model_type}, which is not written yet",
            expected="one of " + ", ".join(sorted([*FAMILIES, *COUNTED_FAMILIES])),
        )
    return entry


def series_of(name: str) -> str:
    """Return a name without the size: "qwen3" of "Qwen3-0.6B"."""
    return re.split(r"-(?=e?\d+(?:\.\d+)?[bm]\b|\d+x|medium|large|xl)", _short(name))[0]


@cache
def _by_plain_name() -> Mapping[str, CatalogueEntry]:
    return {_plain(short): entry for short, entry in catalogue().items()}


def _short(name: str) -> str:
    """Return a name in lower case, without owner and without the marks of variants that share a shape."""
    short = name.rpartition("/")[2].lower().replace("_", "-").removeprefix("meta-")
    while (cut := _VARIANT.sub("", short)) != short:
        short = cut
    return short


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", _short(name))
