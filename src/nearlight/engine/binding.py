"""Binds a model's declared parameters to a package's tensors: the one place where the two are compared.

Weights stay in the bits they are stored in, unless a person asked for others; then every matrix is re-quantized here,
one at a time, so that no second copy of the model exists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from nearlight import dtypes
from nearlight.dtypes import Format
from nearlight.errors import PackageError, RequestError
from nearlight.formats import dequantize, first_non_finite_row, quantize
from nearlight.kernels.ops import Ops
from nearlight.layers.decoder import Decoder
from nearlight.layers.parameters import Parameter
from nearlight.package.package import Package
from nearlight.package.tensors import StoredTensor

Progress: TypeAlias = Callable[[int, int], None]
"""Told the bytes taken in so far, and in all."""


@dataclass(frozen=True)
class Requantization:
    """Formats to store matrices in: those of the layers, and the embedding with the head."""

    layers: Format
    embedding: Format

    def format_of(self, parameter: Parameter) -> Format:
        return self.embedding if "embed" in parameter.name or "lm_head" in parameter.name else self.layers


REQUANTIZATIONS: dict[str, Requantization] = {
    "bf16": Requantization(dtypes.BF16, dtypes.BF16),
    "w8": Requantization(dtypes.Q8_0, dtypes.Q8_0),
    "w6": Requantization(dtypes.Q6_K, dtypes.Q6_K),
    "w4": Requantization(dtypes.Q4_0, dtypes.Q6_K),  # the head's errors go straight into the logits
}


def requantization(weights: str | None) -> Requantization | None:
    """Return what `weights` asks for; None keeps the stored bits. Raises: RequestError naming the choices."""
    if weights is None:
        return None
    if weights not in REQUANTIZATIONS:
        raise RequestError("weights", expected="one of " + ", ".join(REQUANTIZATIONS), found=repr(weights))
    return REQUANTIZATIONS[weights]


def bind(
    model: Decoder,
    package: Package,
    ops: Ops,
    formats: Requantization | None = None,
    progress: Progress | None = None,
) -> None:
    """Give every parameter of `model` its value.

    Raises: PackageError when a tensor is missing or its shape is not what the config says.
    """
    parameters = list(model.parameters())
    tensors = [_tensor(parameter, package) for parameter in parameters]
    done, total = 0, sum(tensor.n_bytes for tensor in tensors)
    for parameter, tensor in zip(parameters, tensors, strict=True):
        _check_finite(parameter, tensor, package)
        stored = _requantized(parameter, tensor, formats) if formats and parameter.is_matrix else tensor
        parameter.bind(ops, stored)
        done += tensor.n_bytes
        if progress:
            progress(done, total)


def _tensor(parameter: Parameter, package: Package) -> StoredTensor:
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
    return tensor


def _check_finite(parameter: Parameter, tensor: StoredTensor, package: Package) -> None:
    """Refuse block scales and small parameters that are NaN or infinite: one of them spoils every answer.

    Matrices of plain floats are not read through for this; NaN in them is noticed in the logits.
    """
    if parameter.is_matrix and tensor.format.block_size == 1:
        return
    row = first_non_finite_row(tensor.format, tensor.read(), tensor.row_length)
    if row is not None:
        raise PackageError(
            f"tensor {parameter.name} ({tensor.format}), row {row}",
            where=package.source,
            expected="finite numbers",
            found="NaN or infinity",
            advice="the file is damaged or was quantized badly; get another copy",
        )


def _requantized(parameter: Parameter, tensor: StoredTensor, formats: Requantization) -> StoredTensor:
    format = formats.format_of(parameter)
    if tensor.format is format:
        return tensor

    def read() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return quantize(format, dequantize(tensor.format, tensor.read(), tensor.row_length))

    return StoredTensor(tensor.name, format, tensor.shape, read)


def with_tied_head(config: Mapping[str, object], package: Package) -> dict[str, object]:
    """Return the config, its head tied to the embedding where the package has no head of its own."""
    own_head = "lm_head.weight" in package.tensors
    return dict(config) if own_head else {**config, "tie_word_embeddings": True}
