"""What is planned: a model by its package, or by a name in the catalogue; its weights are not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearlight.counting.counted_model import CountedModel
from nearlight.dtypes import BF16, MXFP4, Format
from nearlight.kernels.count import Target
from nearlight.layers.parameters import Parameter
from nearlight.models.catalogue import CatalogueEntry, find_in_catalogue
from nearlight.package import Package, open_package


@dataclass(frozen=True)
class Subject:
    """A model to plan. `weights` None means the stored bits of a package, and the published ones of an entry."""

    name: str
    config: Mapping[str, Any]
    package: Package | None = None
    entry: CatalogueEntry | None = None

    @property
    def own_weights(self) -> str:
        """What its weights are in where nothing else is asked for."""
        if self.package is not None:
            return "stored bits"
        return self.entry.weights if self.entry else "bf16"

    def counted(self, weights: str | None, kv_format: Format | None, target: Target) -> CountedModel:
        """Build it on the counting kernels."""
        if self.package is not None:
            return CountedModel.of_package(self.package, weights, kv_format=kv_format, target=target)
        weights = weights or self.own_weights
        if weights == "mxfp4":
            return CountedModel(self.config, _experts_in_mxfp4, kv_format=kv_format, target=target)
        return CountedModel.of_config(self.config, weights, kv_format=kv_format, target=target)


def _experts_in_mxfp4(parameter: Parameter) -> Format:
    """Return the formats that gpt-oss is published in."""
    return MXFP4 if parameter.role == "expert" else BF16


def subject_of(model: str | Path | Package | CatalogueEntry | Subject) -> Subject:
    """Find what is meant: a package, a path to one, or a catalogue name.

    Raises: RequestError with suggestions for a name that is neither; UnsupportedError for a family not written yet.
    """
    if isinstance(model, Subject):
        return model
    if isinstance(model, CatalogueEntry):
        return Subject(model.name, model.config, entry=model)
    if isinstance(model, Path) or (isinstance(model, str) and Path(model).expanduser().exists()):
        model = open_package(model)
    if isinstance(model, Package):
        return Subject(model.name, model.config, package=model)
    return subject_of(find_in_catalogue(model))
