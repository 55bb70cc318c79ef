"""A model's place in the cache of packed weights: what it was made from, reading it, and writing it in the background.

Writing waits for nothing and nothing waits for it: it happens in a thread of the lowest priority while the model is
already answering, and ends early if it must. Only when the program ends sooner does it wait for the rest; Ctrl-C then
gives up.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import nearlight
from nearlight.dtypes import Format
from nearlight.formats import quantize
from nearlight.kernels.cpu import CpuOps, packed
from nearlight.kernels.ops import Ops
from nearlight.loading.packed_cache import PackedCache, default_cache, entry_name
from nearlight.models.weight_formats import Requantization
from nearlight.package.package import Package
from nearlight.package.tensors import StoredTensor
from nearlight.quantities import bytes_text

WORTH_S, WORTH_BYTES = 2.0, 4e9
"""A model is kept if packing it took so long, and as much again for every further such size of what is kept.

Weights of 16 bits are packed almost as fast as they are read back (docs/decisions.md): their copy would buy nothing.
"""

READ, WRITING, WRITTEN, NOT_KEPT = "read", "writing", "written", "not kept"


@dataclass(frozen=True)
class PackedWeights:
    """What became of a model's packed weights: read from a file that was kept, written to one, or not kept, and why.

    `state` is "read", "writing", "written" or "not kept".
    """

    state: str
    path: Path
    n_bytes: int
    reason: str = ""


_ENDS_BYTES = 1 << 16


class PackedModel:
    """Where one model's packed matrices are kept.

    `formats` are those that matrices are re-quantized to, None for the stored bits.
    Units: `worth_s` is seconds of packing, processor time over threads.
    Raises: OSError when the model's files cannot be read.
    """

    def __init__(
        self,
        cache: PackedCache,
        package: Package,
        ops: CpuOps,
        formats: Requantization | None = None,
        worth_s: float | None = None,
    ) -> None:
        self.cache = cache
        self.ops = ops
        self.outcome: PackedWeights | None = None
        self._worth_s = WORTH_S if worth_s is None else worth_s
        self._writing: _Writing | None = None
        weights = formats.name if formats else None
        self.name = entry_name(package.name, weights, package.files)
        self.key: packed.Key = {
            "model": package.name,
            "source": os.path.realpath(package.source),
            "weights": weights or "stored",
            "nearlight": nearlight.__version__,
            "layout": packed.layout_fingerprint(),
            "quantizer": _quantizer_fingerprint((formats.layers, formats.embedding) if formats else ()),
            "files": [_identity(file) for file in package.files],
        }

    def read(self, wanted: Sequence[StoredTensor], took: Callable[[int], None]) -> list[packed.Matrix] | None:
        """Return the matrices that `wanted` would be packed into, None where they are not kept.

        `took` is told the bytes of each as it is read.
        """
        matrices = self.cache.read(self.name, self.key, self.ops, wanted, took)
        if matrices is not None:
            self._ended(READ, sum(matrix.n_bytes for matrix in matrices))
        return matrices

    def keep(self, matrices: Sequence[tuple[Format, packed.Matrix]], seconds: float) -> None:
        """Begin to write the matrices, if making them took long enough and there is room."""
        n_bytes = sum(matrix.n_bytes for _, matrix in matrices)
        if seconds < self._worth_s * max(1.0, n_bytes / WORTH_BYTES):
            took = "under 0.1 s" if seconds < 0.1 else f"{seconds:.1f} s"
            self._ended(NOT_KEPT, n_bytes, f"packing took {took}, which is not worth {bytes_text(n_bytes)}")
            return
        obstacle = self.cache.obstacle(self.name, n_bytes)
        if obstacle:
            self._ended(NOT_KEPT, n_bytes, obstacle)
            return
        self._ended(WRITING, n_bytes)
        self._writing = _Writing(self, matrices)
        self._writing.start()

    def write(self, matrices: Sequence[tuple[Format, packed.Matrix]], stopped: Callable[[], bool]) -> None:
        """Write the matrices, and note what became of it."""
        n_bytes, reasons = sum(matrix.n_bytes for _, matrix in matrices), list[str]()
        written = self.cache.write(self.name, self.key, matrices, stopped, reasons.append)
        self._ended(WRITTEN if written else NOT_KEPT, n_bytes, *reasons)

    def _ended(self, state: str, n_bytes: int, reason: str = "") -> None:
        self.outcome = PackedWeights(state, self.cache.directory / self.name, n_bytes, reason)

    def finish(self) -> None:
        """Wait until what is to be kept is written; a program that ends does so by itself."""
        if self._writing:
            self._writing.finish()


def packed_model_of(package: Package, ops: Ops, formats: Requantization | None) -> PackedModel | None:
    """Return where a model's packed matrices are kept; None for a kernel set that packs nothing.

    Raises: RequestError when the cache is set up wrongly.
    """
    if not isinstance(ops, CpuOps):
        return None
    try:
        return PackedModel(default_cache(), package, ops, formats)
    except OSError:
        return None


class _Writing(threading.Thread):
    """The writing of one entry. A daemon, because Python waits for others before it asks anybody to finish."""

    def __init__(self, model: PackedModel, matrices: Sequence[tuple[Format, packed.Matrix]]) -> None:
        super().__init__(name=f"writing {model.name}", daemon=True)
        self._model = model
        self._matrices = matrices
        self._stopped = threading.Event()
        atexit.register(self.finish)

    def run(self) -> None:
        if sys.platform == "linux":  # elsewhere priorities are of processes, not threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        try:
            self._model.write(self._matrices, self._stopped.is_set)
        finally:
            self._matrices = ()
            atexit.unregister(self.finish)

    def finish(self) -> None:
        """Wait for the end. Ctrl-C brings it about."""
        try:
            self.join()
        except KeyboardInterrupt:
            self._stopped.set()
            self.join()


def _quantizer_fingerprint(formats: Collection[Format]) -> int:
    """Return a number for how values are quantized: what becomes of a fixed pattern of them."""
    values = np.sin(np.arange(8 * 256, dtype=np.float32)).reshape(8, 256)
    return zlib.crc32(b"".join(quantize(format, values).tobytes() for format in formats))


def _identity(file: Path) -> list[str | int]:
    """Describe a file so that any other content has another description, as far as that can be told without reading it.

    The first and last bytes are read: a tool may put back size and time.
    """
    with file.open("rb") as content:
        status = os.fstat(content.fileno())
        crc = zlib.crc32(content.read(_ENDS_BYTES))
        content.seek(max(0, status.st_size - _ENDS_BYTES))
        crc = zlib.crc32(content.read(_ENDS_BYTES), crc)
    return [os.path.realpath(file), status.st_size, status.st_mtime_ns, status.st_ino, crc]
