"""From an opened package to a model with bound weights: where config and tensors are compared, name by name.

Weights stay in the bits they are stored in, unless a person asked for others; then every matrix is re-quantized while
it is taken in. Either way no second copy of the model exists: pages of the file that were read are given back.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from time import process_time
from typing import TypeAlias

from nearlight.dtypes import ALL
from nearlight.errors import PackageError, UnsupportedError
from nearlight.formats import first_non_finite_row
from nearlight.kernels.ops import Ops
from nearlight.layers.parameters import Parameter
from nearlight.loading.packed_model import PackedModel, packed_model_of
from nearlight.loading.requantize import requantized
from nearlight.models import build_model
from nearlight.models.model import Model
from nearlight.models.of_package import bounds_of, config_of
from nearlight.models.weight_formats import Requantization
from nearlight.package.package import Package
from nearlight.package.tensors import StoredTensor

Progress: TypeAlias = Callable[[int, int], None]
"""Told the bytes taken in so far, and in all."""


def load_model(
    package: Package,
    ops: Ops,
    formats: Requantization | None = None,
    progress: Progress | None = None,
    *,
    keep: bool = False,
) -> tuple[Model, PackedModel | None]:
    """Declare a package's model, and bind its weights: in `formats`, or in the bits they are stored in.

    With `keep` packed weights are read from the user's cache and written to it; where they are comes back, too.
    Raises: UnsupportedError for a family that is not written; PackageError; RequestError for a cache set up wrongly.
    """
    model = build_model(ops, config_of(package), bounds_of(package))
    kept = packed_model_of(package, ops, formats) if keep else None
    bind(model, package, ops, formats, progress, kept)
    return model, kept


def bind(
    model: Model,
    package: Package,
    ops: Ops,
    formats: Requantization | None = None,
    progress: Progress | None = None,
    kept: PackedModel | None = None,
    clock: Callable[[], float] = process_time,
) -> None:
    """Give every parameter of `model` its value.

    `kept` is where the matrices are read from, if they are there, and written to, if making them took long: in
    processor time, by `clock`, since neither a busy machine nor a slow disk is what keeping them would save.
    Raises: PackageError when a tensor is missing or its shape is not what the config says.
    """
    bound = [(parameter, _parts_of(parameter, package, formats)) for parameter in model.parameters()]
    matrices = [(parameter, parts) for parameter, parts in bound if parameter.is_matrix]
    others = [(parameter, parts) for parameter, parts in bound if not parameter.is_matrix]
    done, total = 0, sum(part.n_bytes for parameter, parts in bound if not parameter.is_table for part in parts)

    def took(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if progress:
            progress(done, total)

    def take(parameter: Parameter, parts: list[StoredTensor], take_one: Callable[[StoredTensor], object]) -> None:
        values = []
        for part in parts:
            values.append(_taken(part, package, take_one))
            took(part.n_bytes)
        parameter.hold(values, parts[0].format)

    packed = kept.read([part for _, parts in matrices for part in parts], took) if kept else None
    if packed is not None:
        values = iter(packed)
        for parameter, parts in matrices:
            parameter.hold(list(islice(values, len(parts))), parts[0].format)
    else:
        started = clock()
        for parameter, parts in matrices:
            take(parameter, parts, ops.matrix)
        if kept:
            made = [(part.format, value) for p, parts in matrices for part, value in zip(parts, p.values, strict=True)]
            kept.keep(made, (clock() - started) / ops.threads)
    for parameter, parts in others:
        if parameter.is_table:  # none of it is read
            parameter.bind(ops, parts[0])
            continue
        _check_finite(parameter, parts[0], package)
        take(parameter, parts, ops.vector)


def _parts_of(parameter: Parameter, package: Package, formats: Requantization | None) -> list[StoredTensor]:
    """Return a parameter's tensors in the format they are to be taken in: their own, or one that is made meanwhile."""
    parts = _stored_parts(parameter, package)
    if formats and parameter.is_matrix:
        format = formats.format_of(parameter)
        return [part if part.format is format else requantized(part, format) for part in parts]
    return parts


def _stored_parts(parameter: Parameter, package: Package) -> list[StoredTensor]:
    """Find what a parameter is made of: a tensor, a part of one, or all experts' in one or in as many."""
    if parameter.stack and parameter.name not in package.tensors:
        shape = (parameter.shape[0] // parameter.stack, *parameter.shape[1:])
        names = [parameter.name.replace("*", str(i)) for i in range(parameter.stack)]
        parts = [_tensor_of(name, shape, package) for name in names]
        beyond = parameter.name.replace("*", str(parameter.stack))
        if beyond in package.tensors:
            expected = f"{parameter.stack} experts, by its config"
            raise PackageError(f"tensor {beyond}", where=package.source, expected=expected, found="more of them")
        for part in parts:
            if part.format is not parts[0].format:
                raise PackageError(
                    f"format of tensor {part.name}",
                    where=package.source,
                    expected=f"{parts[0].format}, as of {parts[0].name}",
                    found=part.format,
                    advice="load it with `weights`, which brings all experts into one format",
                )
        return parts
    return parameter.own_parts(_tensor_of(parameter.name, parameter.stored_shape, package))


def _tensor_of(name: str, shape: tuple[int, ...], package: Package) -> StoredTensor:
    tensor = package.tensors.get(name)
    if tensor is None:
        raise PackageError(
            f"tensor {name} is missing",
            where=package.source,
            expected=f"shape {list(shape)}, by its config",
            advice="the config and the weights are of different models, or a file is incomplete",
        )
    if tensor.format not in ALL:
        known = " ".join(map(str, ALL))
        raise UnsupportedError(
            f"type of tensor {name}", where=package.source, expected=f"one of {known}", found=tensor.format
        )
    if tensor.shape != shape:
        raise PackageError(
            f"shape of tensor {name}",
            where=package.source,
            expected=f"{list(shape)}, by its config",
            found=list(tensor.shape),
            advice="the config and the weights are of different models",
        )
    return tensor


def _taken(tensor: StoredTensor, package: Package, take: Callable[[StoredTensor], object]) -> object:
    try:
        value = take(tensor)
    except PackageError as error:
        raise PackageError(str(error), where=package.source) from None
    tensor.release()
    return value


def _check_finite(parameter: Parameter, tensor: StoredTensor, package: Package) -> None:
    """Refuse small parameters that are NaN or infinite: one of them spoils every answer."""
    if first_non_finite_row(tensor.format, tensor.read(), tensor.row_length) is not None:
        raise PackageError(
            f"tensor {parameter.name} ({tensor.format})",
            where=package.source,
            expected="finite numbers",
            found="NaN or infinity",
            advice="the file is damaged or was quantized badly; get another copy",
        )
