"""Chooses the kernel set that a model runs on, and whether what it makes of the weights can be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearlight.errors import RequestError
from nearlight.kernels.ops import Ops
from nearlight.loading.binding import requantization
from nearlight.package.package import Package

if TYPE_CHECKING:
    from nearlight.loading.packed_model import PackedModel

BACKENDS = ("auto", "cpu", "reference")


def make_ops(backend: str = "auto", threads: int | None = None) -> Ops:
    """Make the kernel set called `backend`; "auto" is the fastest this machine has.

    Raises: RequestError for an unknown name, or one that needs a package which is not installed.
    """
    if backend not in BACKENDS:
        raise RequestError("backend", expected="one of " + ", ".join(BACKENDS), found=repr(backend))
    if threads is not None and threads < 1:
        raise RequestError("threads", expected="at least 1", found=threads)
    if backend == "reference":
        try:
            from nearlight.kernels.reference import ReferenceOps
        except ModuleNotFoundError as error:
            raise RequestError(
                "the reference backend needs PyTorch", advice="pip install 'nearlight[torch]', or use --backend cpu"
            ) from error
        return ReferenceOps()
    from nearlight.kernels.cpu import CpuOps

    return CpuOps(threads)


def packed_model(package: Package, ops: Ops, weights: str | None) -> PackedModel | None:
    """Return where this model's packed matrices are kept; None for a kernel set that packs nothing.

    Raises: RequestError when the cache is set up wrongly.
    """
    if ops.name != "cpu":
        return None
    from nearlight.kernels.cpu import CpuOps
    from nearlight.loading.packed_cache import default_cache
    from nearlight.loading.packed_model import PackedModel

    assert isinstance(ops, CpuOps)
    formats = requantization(weights)
    try:
        return PackedModel(
            default_cache(), package, weights, ops, (formats.layers, formats.embedding) if formats else ()
        )
    except OSError:
        return None
