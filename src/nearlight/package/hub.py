"""Models of the Hugging Face hub, in the hub's own cache, so that other programs' downloads are found and shared.

Looking into the cache reads its documented layout directly and takes no time; only downloading and deleting load
`huggingface_hub`, and this is the one module that speaks to it. Small files are downloaded before weights, so that a
package whose weights are all there is complete.

Source: huggingface_hub's guide "Understand caching": models--org--name/{blobs,refs,snapshots}.
"""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import TypeAlias

from nearlight.errors import NearlightError, RequestError
from nearlight.package.hub_files import INDEX, HubId, choose_gguf, gguf_models, parse_id, small_files, weight_files
from nearlight.quantities import bytes_text

__all__ = [
    "CachedModel",
    "HubId",
    "NotOnTheHubError",
    "cache_directory",
    "cached",
    "cached_models",
    "download_size",
    "parse_id",
    "pull",
    "remove",
    "size",
]

Progress: TypeAlias = Callable[[int, int], None]
"""Told the bytes downloaded so far, and in all."""

_POLL_S = 0.2
_NETWORK_LIBRARIES = ("httpx", "httpx2", "httpcore", "requests", "urllib3")


class NotOnTheHubError(RequestError):
    """The hub has no such repository, or does not show it to this user."""


@dataclass(frozen=True)
class CachedModel:
    """A downloaded model. `kind` is "safetensors" or "GGUF"; "other" is what nearlight cannot run."""

    id: HubId
    path: Path
    kind: str
    n_bytes: int
    used: float
    """Units: seconds since the epoch."""


# -- the cache -----------------------------------------------------------------------------------------------------


def cache_directory() -> Path:
    """Return where the hub's downloads are kept: $HF_HUB_CACHE, else below $HF_HOME or ~/.cache/huggingface."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def cached(id: HubId) -> Path | None:
    """Return the path of a downloaded model, or None where it is not there, or not completely.

    Raises: RequestError where several downloaded GGUF files fit the id.
    """
    snapshot = _snapshot(_repository_directory(id))
    if snapshot is None:
        return None
    if id.choice is None and _is_complete(snapshot):
        return snapshot
    models = gguf_models(_names(snapshot))
    whole = {first: parts for first, parts in models.items() if all((snapshot / part).exists() for part in parts)}
    if not whole or (id.choice and not _any_fits(id, whole)):
        return None
    return snapshot / choose_gguf(id, whole)


def cached_models() -> list[CachedModel]:
    """List what is downloaded, by name; a repository with several GGUF models gives each a line."""
    models: list[CachedModel] = []
    for directory in sorted(cache_directory().glob("models--*--*")):
        repository = directory.name.removeprefix("models--").replace("--", "/", 1)
        snapshot = _snapshot(directory)
        if snapshot is not None:
            models += _models_of(HubId(repository), snapshot)
    return models


def _models_of(id: HubId, snapshot: Path) -> list[CachedModel]:
    names = _names(snapshot)
    ggufs = gguf_models(names)
    found = []
    if _is_complete(snapshot) or not ggufs:
        kind = "safetensors" if _is_complete(snapshot) else "other"
        found.append(_described(id, snapshot, kind, [snapshot / name for name in names if not name.endswith(".gguf")]))
    for first, parts in ggufs.items():
        files = [snapshot / part for part in parts]
        kind = "GGUF" if all(file.exists() for file in files) else "other"
        found.append(_described(HubId(id.repository, Path(first).name), snapshot / first, kind, files))
    return found


def _described(id: HubId, path: Path, kind: str, files: Sequence[Path]) -> CachedModel:
    stats = [file.stat() for file in files if file.exists()]
    used = max((max(stat.st_atime, stat.st_mtime) for stat in stats), default=0.0)
    return CachedModel(id, path, kind, sum(stat.st_size for stat in stats), used)


def _repository_directory(id: HubId) -> Path:
    return cache_directory() / f"models--{id.repository.replace('/', '--')}"


def _snapshot(directory: Path) -> Path | None:
    """Return the snapshot that `main` points to, else the newest one."""
    try:
        revision = (directory / "refs" / "main").read_text().strip()
    except OSError:
        revision = ""
    snapshots = directory / "snapshots"
    if revision and (snapshots / revision).is_dir():
        return snapshots / revision
    others = [path for path in snapshots.glob("*") if path.is_dir()]
    return max(others, key=lambda path: path.stat().st_mtime, default=None)


def _names(snapshot: Path) -> list[str]:
    """List a snapshot's files relative to it; links whose blob is gone do not count."""
    return sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())


def _is_complete(snapshot: Path) -> bool:
    """Whether a snapshot is a whole Hugging Face package, judged by its own index."""
    from nearlight.package.huggingface_weights import read_weights

    if not (snapshot / "config.json").is_file():
        return False
    try:
        read_weights(snapshot)
    except NearlightError:
        return False
    return True


def _any_fits(id: HubId, models: dict[str, list[str]]) -> bool:
    try:
        choose_gguf(id, models)
    except RequestError:
        return False
    return True


# -- downloading ---------------------------------------------------------------------------------------------------


def pull(id: HubId, progress: Progress | None = None) -> Path:
    """Download what is missing of a model, and return its path: a directory, or a .gguf file.

    Raises: RequestError, in one line with advice, when the hub cannot be reached, has no such model, or does not give
    it to this user, and when the disk is full; UnsupportedError when it has nothing nearlight reads.
    """
    with _one_line(id):
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        sizes = _sizes(id)
        models = gguf_models(sizes)
        download = _Download(id, sizes, progress)
        if id.choice or ("config.json" not in sizes and models):
            first = choose_gguf(id, models)
            download.fetch(models[first])
            return download.snapshot / first
        download.fetch(small_files(sizes), report=False)
        download.fetch(weight_files(id, sizes, _weight_map(download.snapshot / INDEX) if INDEX in sizes else {}))
        return download.snapshot


def download_size(id: HubId) -> int:
    """Return the bytes of what `pull` would download, by what the hub tells. Raises: as `pull`."""
    with _one_line(id):
        sizes = _sizes(id)
        models = gguf_models(sizes)
        if id.choice or ("config.json" not in sizes and models):
            names = models[choose_gguf(id, models)]
        else:
            names = [*small_files(sizes), *weight_files(id, sizes, {})]
        return sum(sizes.get(name, 0) for name in names)


def _sizes(id: HubId) -> dict[str, int]:
    """Ask the hub for the names of a repository's files, and their bytes."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(id.repository, files_metadata=True)
    return {file.rfilename: file.size or 0 for file in info.siblings or ()}


def _weight_map(path: Path) -> dict[str, str]:
    from nearlight.package.json_file import read_json

    weight_map = read_json(path).get("weight_map")
    return {key: str(name) for key, name in weight_map.items()} if isinstance(weight_map, dict) else {}


class _Download:
    """Files of one repository on their way into the cache."""

    def __init__(self, id: HubId, sizes: dict[str, int], progress: Progress | None) -> None:
        self._id, self._sizes, self._progress = id, sizes, progress
        self._blobs = _repository_directory(id) / "blobs"
        self.snapshot = Path()

    def fetch(self, names: Sequence[str], *, report: bool = True) -> None:
        """Download files one after the other; those in the cache already only count as done."""
        from huggingface_hub import hf_hub_download

        total, done = sum(self._sizes.get(name, 0) for name in names), 0
        self._require_space(total)
        for name in names:
            with self._watched(done, total) if report and self._progress else _unwatched():
                path = Path(hf_hub_download(self._id.repository, name))
            self.snapshot = path.parents[len(Path(name).parts) - 1]
            done += self._sizes.get(name, 0)

    def _require_space(self, n_bytes: int) -> None:
        present = sum(path.stat().st_size for path in self._blobs.glob("*")) if self._blobs.exists() else 0
        existing = next(path for path in (self._blobs, *self._blobs.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if n_bytes - present > free:
            raise RequestError(
                "not enough disk space",
                where=existing,
                expected=bytes_text(n_bytes),
                found=bytes_text(free),
                advice="delete models with `nearlight rm`, or set HF_HOME to another disk",
            )

    @contextmanager
    def _watched(self, done: int, total: int) -> Iterator[None]:
        """Report the growth of the file being downloaded: every version of huggingface_hub writes `*.incomplete`."""
        started, ended = time(), threading.Event()

        def watch() -> None:
            while not ended.wait(_POLL_S):
                if self._progress:
                    self._progress(min(done + self._incoming(started), total), total)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def _incoming(self, since: float) -> int:
        sizes = []
        for path in self._blobs.glob("*.incomplete"):
            try:
                stat = path.stat()
            except OSError:
                continue  # finished, and renamed meanwhile
            if stat.st_mtime >= since:
                sizes.append(stat.st_size)
        return max(sizes, default=0)


@contextmanager
def _unwatched() -> Iterator[None]:
    yield


@contextmanager
def _one_line(id: HubId) -> Iterator[None]:
    """Turn what the hub's library raises into one line with advice."""
    try:
        yield
    except NearlightError:
        raise
    except Exception as error:
        raise _explained(id, error) from error


def _explained(id: HubId, error: Exception) -> RequestError:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        page = f"https://huggingface.co/{id.repository}"
        return RequestError(
            "access is restricted", where=id, advice=f"accept its terms at {page}, then `hf auth login`"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        advice = "check the spelling; a private model needs `hf auth login`"
        return NotOnTheHubError("no such model on the hub", where=id, advice=advice)
    if isinstance(error, errors.HFValidationError):
        return RequestError("not a hub id", where=id, expected="org/name")
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else "an error"
        return RequestError("the hub answered", where=id, found=status, advice="try again later")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        advice = "delete models with `nearlight rm`, or set HF_HOME to another disk"
        return RequestError("the disk is full", where=id, advice=advice)
    offline = isinstance(error, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError | ConnectionError)
    if offline or type(error).__module__.split(".")[0] in _NETWORK_LIBRARIES:
        advice = "check the connection; a model directory or .gguf file needs none"
        return RequestError("the hub cannot be reached", where=id, advice=advice)
    return RequestError(f"download failed ({type(error).__name__}: {error})"[:300], where=id)


# -- deleting ------------------------------------------------------------------------------------------------------


def size(id: HubId) -> int:
    """Return the bytes of a downloaded model, or with a choice of one GGUF model of it.

    Raises: RequestError where it is not downloaded.
    """
    return sum(path.stat().st_size for path in {path.resolve() for path in _owned(id)})


def remove(id: HubId) -> int:
    """Delete a downloaded model: the whole repository, or with a choice one GGUF model of it.

    Returns the bytes freed.
    Raises: RequestError where it is not downloaded.
    """
    directory = _repository_directory(id)
    owned = _owned(id)
    if id.choice is not None:
        return sum(_remove_file(directory, path) for path in owned)
    freed = size(id)
    shutil.rmtree(directory)
    shutil.rmtree(cache_directory() / ".locks" / directory.name, ignore_errors=True)
    return freed


def _owned(id: HubId) -> list[Path]:
    """List the files that make up a downloaded model."""
    directory = _repository_directory(id)
    if not directory.is_dir():
        raise RequestError("not downloaded", where=id, advice="`nearlight list` shows what is")
    if id.choice is None:
        return [path for path in directory.rglob("*") if path.is_file()]
    snapshot = _snapshot(directory) or directory
    models = gguf_models(_names(snapshot))
    return [path for part in models[choose_gguf(id, models)] if (path := snapshot / part).exists()]


def _remove_file(directory: Path, link: Path) -> int:
    """Delete a file of a snapshot, and its blob unless another snapshot uses it too; return the bytes freed."""
    blob, n_bytes = link.resolve(), link.stat().st_size
    link.unlink()
    if blob == link:
        return n_bytes
    others = (path for path in (directory / "snapshots").rglob("*") if path.is_symlink() and path.resolve() == blob)
    if any(others):
        return 0
    blob.unlink(missing_ok=True)
    return n_bytes
