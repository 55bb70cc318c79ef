"""Binds a model's declared parameters to a package's tensors: the one place where the two are compared.

Weights stay in the bits they are stored in, unless a person asked for others; then every matrix is re-quantized here,
some rows at a time. Either way no second copy of the model exists: pages of the file that were read are given back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from time import process_time
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nearlight import dtypes
from nearlight.dtypes import Format
from nearlight.errors import PackageError, RequestError
from nearlight.formats import dequantize, first_non_finite_row, quantize
from nearlight.kernels.ops import ExpertOps, Ops
from nearlight.layers.decoder import Decoder
from nearlight.layers.parameters import Parameter
from nearlight.machine.threads import default_threads
from nearlight.models import build_counted, build_model
from nearlight.models.config import Bounds
from nearlight.package.package import Package
from nearlight.package.tensors import Bytes, StoredTensor

if TYPE_CHECKING:
    from nearlight.loading.packed_model import PackedModel

Progress: TypeAlias = Callable[[int, int], None]
"""Told the bytes taken in so far, and in all."""

_REQUANTIZED_VALUES = 1 << 20
"""What a thread has as floats at a time."""


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


def declare(package: Package, ops: Ops) -> Decoder:
    """Declare a package's model, once its tensors have confirmed the sizes in its config.

    Raises: UnsupportedError, PackageError.
    """
    return build_model(ops, with_tied_head(package.config, package), bounds_of(package))


def declare_counted(package: Package, ops: ExpertOps) -> Decoder:
    """Declare a package's model for planning, as `declare` does."""
    return build_counted(ops, with_tied_head(package.config, package), bounds_of(package))


def bounds_of(package: Package) -> Bounds:
    """Return the most that the sizes of a package's config can be."""
    return Bounds.of(tensor.shape for tensor in package.tensors.values())


def bind(
    model: Decoder,
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
    parameters = list(model.parameters())
    stored = [parameter.own_part(_tensor(parameter, package)) for parameter in parameters]
    tensors = [_wanted(parameter, tensor, formats) for parameter, tensor in zip(parameters, stored, strict=True)]
    pairs = list(zip(parameters, tensors, strict=True))
    done, total = 0, sum(tensor.n_bytes for tensor in tensors)

    def took(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if progress:
            progress(done, total)

    matrices = [(parameter, tensor) for parameter, tensor in pairs if parameter.is_matrix]
    if not (kept and _read_kept(matrices, kept, took)):
        started = clock()
        for parameter, tensor in matrices:
            _take(parameter, tensor, package, ops)
            took(tensor.n_bytes)
        if kept:
            kept.keep([(t.format, p.value) for p, t in matrices], (clock() - started) / ops.threads)
    for parameter, tensor in pairs:
        if not parameter.is_matrix:
            _check_finite(parameter, tensor, package)
            _take(parameter, tensor, package, ops)
            took(tensor.n_bytes)


def _read_kept(
    matrices: Ordered[tuple[Parameter, StoredTensor]], kept: PackedModel, took: Callable[[int], None]
) -> bool:
    """Take the matrices from the cache; say whether they were there."""
    values = kept.read([tensor for _, tensor in matrices], took)
    if values is None:
        return False
    for (parameter, tensor), value in zip(matrices, values, strict=True):
        parameter.hold(value, tensor.format)
    return True


def _take(parameter: Parameter, tensor: StoredTensor, package: Package, ops: Ops) -> None:
    try:
        parameter.take(ops, tensor)
    except PackageError as error:
        raise PackageError(str(error), where=package.source) from None
    tensor.release()


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
    """Refuse small parameters that are NaN or infinite: one of them spoils every answer."""
    if first_non_finite_row(tensor.format, tensor.read(), tensor.row_length) is not None:
        raise PackageError(
            f"tensor {parameter.name} ({tensor.format})",
            where=package.source,
            expected="finite numbers",
            found="NaN or infinity",
            advice="the file is damaged or was quantized badly; get another copy",
        )


def _wanted(parameter: Parameter, tensor: StoredTensor, formats: Requantization | None) -> StoredTensor:
    """Return the tensor in the format it is to be taken in: its own, or one that is made while it is taken."""
    format = formats.format_of(parameter) if formats and parameter.is_matrix else tensor.format
    return tensor if tensor.format is format else requantized(tensor, format)


def requantized(tensor: StoredTensor, format: Format) -> StoredTensor:
    """Return a tensor with the same values in another format.

    It is made a few rows at a time, on several threads, so that neither float values nor stored pages pile up.
    """
    step = max(1, _REQUANTIZED_VALUES // tensor.row_length)

    def make_rows(n_rows: int) -> Iterator[Bytes]:
        from concurrent.futures import ThreadPoolExecutor

        stored = tensor.read()
        with ThreadPoolExecutor(default_threads()) as threads:
            for first in range(0, len(stored), n_rows):
                source = stored[first : first + n_rows]
                made = np.empty((len(source), format.row_bytes(tensor.row_length)), np.uint8)
                steps = range(0, len(source), step)
                rows = [(source[start : start + step], made[start : start + step]) for start in steps]
                for start, fault in zip(steps, threads.map(convert, rows), strict=True):
                    if fault:
                        where = f"{tensor.name}, rows from {first + start}"
                        raise PackageError(where, expected=f"finite numbers, to make {format} of", found="others")
                yield made
                tensor.release()

    def convert(rows: tuple[Bytes, Bytes]) -> bool:
        source, target = rows
        values = dequantize(tensor.format, source, tensor.row_length)
        if format.block_size > 1 and not np.isfinite(values).all():
            return True
        target[:] = quantize(format, values)
        return False

    def read() -> Bytes:
        return next(make_rows(tensor.n_rows))

    return StoredTensor(tensor.name, format, tensor.shape, read, tensor.release, make_rows)


def with_tied_head(config: Mapping[str, object], package: Package) -> dict[str, object]:
    """Return the config, its head tied to the embedding where the package has no head of its own."""
    own_head = "lm_head.weight" in package.tensors
    return dict(config) if own_head else {**config, "tie_word_embeddings": True}
