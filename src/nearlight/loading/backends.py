"""Chooses the kernel set that a model runs on."""

from __future__ import annotations

from nearlight.errors import RequestError
from nearlight.kernels.cpu import CpuOps
from nearlight.kernels.ops import Ops

BACKENDS = ("auto", "cpu", "reference")


def make_ops(backend: str = "auto", threads: int | None = None) -> Ops:
    """Make the kernel set called `backend`; "auto" is the fastest this machine has.

    Raises: RequestError for an unknown name, or one that needs a package which is not installed.
    """
    if backend not in BACKENDS:
        raise RequestError("backend", expected="one of " + ", ".join(BACKENDS), found=repr(backend))
    if threads is not None and threads < 1:
        raise RequestError("threads", expected="at least 1", found=threads)
    if backend != "reference":
        return CpuOps(threads)
    try:
        from nearlight.kernels.reference import ReferenceOps
    except ModuleNotFoundError as error:
        raise RequestError(
            "the reference backend needs PyTorch", advice="pip install 'nearlight[torch]', or use --backend cpu"
        ) from error
    return ReferenceOps()
