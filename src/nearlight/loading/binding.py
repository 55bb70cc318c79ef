"""From an opened package to a model with bound weights: where config and tensors are compared, name by name.

Weights stay in the bits they are stored in, unless a person asked for others; then every matrix is re-quantized while
it is taken in. Either way no second copy of the model exists: pages of the file that were read are given back.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import TypeAlias

from nearlight.errors import PackageError
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
    bound = [(parameter, _tensor_of(parameter, package, formats)) for parameter in model.parameters()]
    matrices = [(parameter, tensor) for parameter, tensor in bound if parameter.is_matrix]
    vectors = [(parameter, tensor) for parameter, tensor in bound if not parameter.is_matrix]
    done, total = 0, sum(tensor.n_bytes for _, tensor in bound)

    def took(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if progress:
            progress(done, total)

    packed = kept.read([tensor for _, tensor in matrices], took) if kept else None
    if packed is not None:
        for (parameter, tensor), value in zip(matrices, packed, strict=True):
            parameter.hold(value, tensor.format)
    else:
        started = clock()
        for parameter, tensor in matrices:
            _take(parameter, tensor, package, ops)
            took(tensor.n_bytes)
        if kept:
            kept.keep([(t.format, p.value) for p, t in matrices], (clock() - started) / ops.threads)
    for parameter, tensor in vectors:
        _check_finite(parameter, tensor, package)
        _take(parameter, tensor, package, ops)
        took(tensor.n_bytes)


def _tensor_of(parameter: Parameter, package: Package, formats: Requantization | None) -> StoredTensor:
    """Return a parameter's tensor in the format it is to be taken in: its own, or one that is made meanwhile."""
    tensor = package.tensors.get(parameter.name)
    if tensor is None:
        raise PackageError(
            f"tensor {parameter.name} is missing",
            where=package.source,
            expected=f"shape {list(parameter.stored_shape)}, by its config",
            advice="the config and the weights are of different models, or a file is incomplete",
        )
    if tensor.shape != parameter.stored_shape:
        raise PackageError(
            f"shape of tensor {parameter.name}",
            where=package.source,
            expected=f"{list(parameter.stored_shape)}, by its config",
            found=list(tensor.shape),
            advice="the config and the weights are of different models",
        )
    own = parameter.own_part(tensor)
    format = formats.format_of(parameter) if formats and parameter.is_matrix else own.format
    return own if own.format is format else requantized(own, format)


def _take(parameter: Parameter, tensor: StoredTensor, package: Package, ops: Ops) -> None:
    try:
        parameter.take(ops, tensor)
    except PackageError as error:
        raise PackageError(str(error), where=package.source) from None
    tensor.release()


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
