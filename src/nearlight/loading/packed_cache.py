"""Models as the kernels want them, kept on disk: repacking and re-quantizing is done once, later starts only read.

An entry is a file, named by the model's files and the choice of weights, so that a newer model or a newer nearlight
replaces the entry instead of adding one. What exactly it was made from stands in its key (packed_model.py): an entry
is only used if all of that is the same. One that is not what it should be is deleted and made again. Nothing here ever
fails a run: where files cannot be read or written, there is no cache.

Safe for several processes: an entry is written under a name of its own and then renamed, so that a reader sees all of
it or none; deleting it while it is read takes the name away, not the bytes. What is being written is a draft, which its
writer holds locked: one that is not locked is of a process that died, and goes when the next entry is written, or with
`nearlight cache clear`. Entries are bytes that a model is computed
from, so they are only taken from a directory, and from files, that belong to this user and that nobody else can write.

Source: POSIX rename(2), unlink(2); flock(2).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from nearlight.dtypes import Format
from nearlight.errors import RequestError
from nearlight.kernels.cpu import CpuOps, packed
from nearlight.package.tensors import StoredTensor
from nearlight.quantities import bytes_text, read_bytes

LARGEST_BYTES, LARGEST_SHARE = 50_000_000_000, 0.2
"""What all entries may take, unless NEARLIGHT_CACHE_BYTES says: this much, or this share of the disk's free space."""

SUFFIX, DRAFT = ".packed", ".draft"
ABANDONED_S = 3600.0
"""Where a system has no locks, a draft that was not written to for so long is of a process that died."""

KEPT, DAMAGED, BEING_WRITTEN, UNFINISHED = "kept", "damaged", "being written", "unfinished"


@dataclass(frozen=True)
class Entry:
    """A file of the cache. Units: `used` is seconds since 1970; names are those of the model and of the file.

    `state` is "kept" for what can be read, "damaged" for a file that is no entry, "being written" for a draft, and
    "unfinished" for one whose writer died.
    """

    name: str
    model: str
    source: str
    weights: str
    n_bytes: int
    used: float
    state: str = KEPT


class PackedCache:
    """The directory of entries.

    Units: `bound` is the bytes that all entries may take together, None to derive it from the disk.
    """

    def __init__(self, directory: Path, bound: int | None = None) -> None:
        self.directory = directory
        self._bound = bound

    # -- one model -------------------------------------------------------------------------------------------------

    def read(
        self, name: str, key: packed.Key, ops: CpuOps, wanted: Sequence[StoredTensor], took: Callable[[int], None]
    ) -> list[packed.Matrix] | None:
        """Return a model's matrices, None where there is no entry, or none that is good: such a one is deleted.

        `took` is told the bytes of each tensor.
        """
        path = self.directory / name
        try:
            with self._open(path) as file:
                matrices = []
                for tensor, matrix in zip(wanted, packed.read_packed(file, key, ops, wanted), strict=True):
                    matrices.append(matrix)
                    took(tensor.n_bytes)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, packed.DamagedError):
            self._delete(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return matrices

    def write(
        self,
        name: str,
        key: packed.Key,
        matrices: Sequence[tuple[Format, packed.Matrix]],
        stopped: Callable[[], bool] = lambda: False,
        failed: Callable[[str], None] = lambda reason: None,
    ) -> bool:
        """Write an entry, making room by deleting those not used for longest; say whether it is there now.

        `stopped` is asked between pieces, and ends the writing if it says so. `failed` is told why there is no entry.
        """
        import tempfile

        n_bytes = sum(matrix.n_bytes for _, matrix in matrices)
        obstacle = self.obstacle(name, n_bytes)
        if obstacle:
            failed(obstacle)
            return False
        draft = None
        try:
            self._make_room(n_bytes, sparing=name)
            descriptor, draft = tempfile.mkstemp(suffix=DRAFT, prefix=name[:40] + ".", dir=self.directory)
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                _lock(descriptor)
                if any(stopped() for _ in packed.write_packed(file, key, matrices)):
                    failed("the program ended before they were written")
                    return False
                os.fsync(file.fileno())
            os.replace(draft, self.directory / name)
            draft = None
        except OSError as error:
            failed(f"{self.directory} cannot be written ({error.strerror})")
            return False
        finally:
            if draft is not None:
                self._delete(Path(draft))
        return True

    def obstacle(self, name: str, n_bytes: int) -> str | None:
        """Say why an entry of so many bytes cannot be written, None where it can; the directory is made if need be."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._is_ours():
                return f"{self.directory} is not this user's alone"
            if not os.access(self.directory, os.W_OK | os.X_OK):
                return f"{self.directory} cannot be written"
            bound = self.bound()
            if n_bytes > bound:
                return f"they take {bytes_text(n_bytes)}, and all together may take {bytes_text(bound)}"
            entries = [entry for entry in self.entries() if entry.name != name]
            free = _free_bytes(self.directory) + sum(entry.n_bytes for entry in entries)
        except OSError as error:
            return f"{self.directory} cannot be made ({error.strerror})"
        return None if free > n_bytes else f"they take {bytes_text(n_bytes)}, and {bytes_text(free)} are free"

    # -- all of them -----------------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """List the entries, the last used first; a file that is no entry has no model."""
        return self._listed(SUFFIX, lambda path, key: KEPT if key else DAMAGED)

    def drafts(self) -> list[Entry]:
        """List what is being written, or was when its writer died."""
        return self._listed(DRAFT, lambda path, key: UNFINISHED if _is_abandoned(path) else BEING_WRITTEN)

    def _listed(self, suffix: str, state_of: Callable[[Path, packed.Key], str]) -> list[Entry]:
        found = []
        for path in self._files(suffix):
            with contextlib.suppress(OSError):
                status = path.stat(follow_symlinks=False)
                key = self._key_of(path)
                model, source, weights = (str(key.get(field, "")) for field in ("model", "source", "weights"))
                state = state_of(path, key)
                found.append(Entry(path.name, model, source, weights, status.st_size, status.st_mtime, state))
        return sorted(found, key=lambda entry: -entry.used)

    def remove(self, entry: Entry) -> None:
        """Delete an entry. Raises: RequestError when the system does not let us."""
        path = self.directory / entry.name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise RequestError(f"cannot be deleted ({error.strerror})", where=path) from None

    def bound(self) -> int:
        """Return how many bytes all entries may take."""
        if self._bound is not None:
            return self._bound
        free = _free_bytes(self.directory)
        held = sum(entry.n_bytes for entry in self.entries())
        return int(min(LARGEST_BYTES, LARGEST_SHARE * (free + held)))

    # -- files -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open(self, path: Path) -> Iterator[BinaryIO]:
        """Open an entry. Raises: OSError; DamagedError for one that others could have written."""
        if not self._is_ours():
            raise FileNotFoundError(path)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or not _owned(status):
                raise packed.DamagedError("not written by this user alone")
            yield file

    def _is_ours(self) -> bool:
        try:
            status = self.directory.stat()
        except OSError:
            return False
        return stat.S_ISDIR(status.st_mode) and _owned(status)

    def _key_of(self, path: Path) -> dict[str, Any]:
        try:
            with self._open(path) as file:
                return dict(packed.read_header(file)["key"])
        except (OSError, ValueError, packed.DamagedError):
            return {}

    def _make_room(self, n_bytes: int, sparing: str) -> None:
        """Delete what dead writers left, and the entries not used for longest, until n_bytes more fit.

        The entry that is about to be replaced is no longer counted, and goes when the new one is there.
        """
        for draft in self.drafts():
            if draft.state == UNFINISHED:
                self._delete(self.directory / draft.name)
        bound = self.bound()
        others = [entry for entry in self.entries() if entry.name != sparing]
        held = sum(entry.n_bytes for entry in others)
        while others and (held + n_bytes > bound or _free_bytes(self.directory) <= n_bytes):
            oldest = others.pop()
            self._delete(self.directory / oldest.name)
            held -= oldest.n_bytes

    def _files(self, suffix: str) -> list[Path]:
        try:
            return [path for path in self.directory.iterdir() if path.suffix == suffix]
        except OSError:
            return []

    def _delete(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()


def default_cache() -> PackedCache:
    """Return the user's cache: in $NEARLIGHT_CACHE, else in nearlight/packed below $XDG_CACHE_HOME or ~/.cache.

    Raises: RequestError when NEARLIGHT_CACHE_BYTES is no number of bytes.
    """
    own, home = os.environ.get("NEARLIGHT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    caches = Path(home) if home else Path.home() / ".cache"
    text = os.environ.get("NEARLIGHT_CACHE_BYTES")
    bound = None if text is None else read_bytes(text, "NEARLIGHT_CACHE_BYTES")
    return PackedCache(Path(own) if own else caches / "nearlight" / "packed", bound)


def entry_name(model: str, weights: str | None, files: Sequence[Path]) -> str:
    """Name the entry of a model: readable, and another one for other files or other weights."""
    paths = "\0".join([str(weights), *sorted(os.path.realpath(file) for file in files)])
    digest = zlib.crc32(paths.encode("utf-8", "surrogateescape"))  # two models of one name would only take turns
    readable = re.sub(r"[^\w.-]+", "-", model, flags=re.ASCII).strip("-.")[:60]
    return f"{readable or 'model'}-{weights or 'stored'}-{digest:08x}{SUFFIX}"


def _lock(descriptor: int) -> None:
    """Hold a draft until it is closed, by whatever end of this process."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_abandoned(path: Path) -> bool:
    """Whether the process that wrote a draft is gone."""
    try:
        import fcntl

        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return time.time() - path.stat(follow_symlinks=False).st_mtime > ABANDONED_S
    return True


def _owned(status: os.stat_result) -> bool:
    """Whether a file or directory is this user's, and no one else may write it."""
    return not hasattr(os, "geteuid") or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)


def _free_bytes(directory: Path) -> int:
    """Return what is free on the disk that a directory is on, or would be."""
    import shutil

    return shutil.disk_usage(next(path for path in (directory, *directory.parents) if path.exists())).free
