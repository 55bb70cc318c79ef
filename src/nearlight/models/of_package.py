"""A package as a model is declared by it: its config, the bounds of its sizes, and the formats of its matrices."""

from __future__ import annotations

from nearlight.dtypes import Format
from nearlight.errors import PackageError
from nearlight.layers.parameters import Parameter
from nearlight.models.config import Bounds
from nearlight.models.weight_formats import FormatOf, Requantization
from nearlight.package.package import Package


def config_of(package: Package) -> dict[str, object]:
    """Return the config, its head tied to the embedding where the package has no head of its own."""
    own_head = "lm_head.weight" in package.tensors
    return dict(package.config) if own_head else {**package.config, "tie_word_embeddings": True}


def bounds_of(package: Package) -> Bounds:
    """Return the most that the sizes of a package's config can be."""
    return Bounds.of(tensor.shape for tensor in package.tensors.values())


def formats_of(package: Package, requantization: Requantization | None) -> FormatOf:
    """Return what says the format that a parameter is kept in: the stored one, or, but for tables, another."""
    stored = stored_formats(package)
    if requantization is None:
        return stored
    return lambda parameter: stored(parameter) if parameter.is_table else requantization.format_of(parameter)


def stored_formats(package: Package) -> FormatOf:
    """Return what says the format that a parameter is stored in. It raises PackageError when a tensor is missing."""

    def format_of(parameter: Parameter) -> Format:
        first_expert = parameter.name.replace(".*.", ".0.")  # a stack of experts has the format of its first
        for name in (parameter.name, first_expert):
            if name in package.tensors:
                return package.tensors[name].format
        raise PackageError(f"tensor {first_expert} is missing", where=package.source)

    return format_of
