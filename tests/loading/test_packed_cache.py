"""Packed weights on disk: used when they are right, deleted and made again when not, and never in the way."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nearlight
from nearlight.engine.engine import Engine
from nearlight.engine.language_model import LanguageModel
from nearlight.errors import RequestError
from nearlight.kernels.cpu import CpuOps, packed
from nearlight.loading import packed_model
from nearlight.loading.backends import make_ops
from nearlight.loading.binding import bind
from nearlight.loading.packed_cache import PackedCache, default_cache
from nearlight.loading.packed_model import PackedModel, packed_model_of
from nearlight.models import build_model
from nearlight.models.of_package import config_of
from nearlight.models.weight_formats import requantization
from nearlight.package import open_package
from tests.models.random_models import CONFIGS, write_model

IDS = [7, 3, 90, 41, 5]
ALWAYS_S = 0.0


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    write_model(directory, CONFIGS["llama-biases"])
    return directory


@pytest.fixture
def cache(tmp_path: Path) -> PackedCache:
    return PackedCache(tmp_path / "packed", bound=1 << 30)


def load(source: Path, cache: PackedCache, weights: str | None = None, worth_s: float = ALWAYS_S) -> LanguageModel:
    """Load through a cache that keeps every model, and wait until it is written."""
    ops = CpuOps(1)
    package = open_package(source)
    formats = requantization(weights)
    kept = PackedModel(cache, package, ops, formats, worth_s)
    model = build_model(ops, config_of(package))
    bind(model, package, ops, formats, kept=kept)
    kept.finish()
    return LanguageModel(package, Engine(model, ops))


def the_entry(cache: PackedCache) -> Path:
    (entry,) = cache.entries()
    return cache.directory / entry.name


def stamp(path: Path) -> int:
    """Tell one writing of a file from the next; a second link keeps the inode's number from being given again."""
    number = path.stat().st_ino
    with contextlib.suppress(FileExistsError):
        os.link(path, path.with_name(f"{number}.pinned"))
    return number


@pytest.mark.parametrize("weights", [None, "w8", "w4"])
def test_results_are_the_same_with_and_without(source: Path, cache: PackedCache, weights: str | None) -> None:
    plain = nearlight.load(source, weights=weights, threads=1, cache=False).logits(IDS)
    first = load(source, cache, weights).logits(IDS)
    written = stamp(the_entry(cache))
    second = load(source, cache, weights).logits(IDS)
    assert np.array_equal(first, plain)
    assert np.array_equal(second, plain)
    assert stamp(the_entry(cache)) == written  # read, not written again


def test_an_entry_is_what_is_computed_from(source: Path, cache: PackedCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, all of the tests would pass with a cache that is never read."""
    load(source, cache)

    def refuse(*_: object) -> None:
        raise AssertionError("packed although there is an entry")

    monkeypatch.setattr(CpuOps, "matrix", refuse)
    load(source, cache).logits(IDS)


def test_progress_is_told_to_the_end(source: Path, cache: PackedCache) -> None:
    for _ in range(2):
        ops, package = CpuOps(1), open_package(source)
        told: list[tuple[int, int]] = []
        kept = PackedModel(cache, package, ops, worth_s=ALWAYS_S)
        bind(
            build_model(ops, package.config), package, ops, None, lambda *figures, told=told: told.append(figures), kept
        )
        kept.finish()
        assert told[-1][0] == told[-1][1]
        assert told == sorted(told)


def test_each_choice_of_weights_has_its_own_entry(source: Path, cache: PackedCache) -> None:
    load(source, cache)
    load(source, cache, "w8")
    assert [(entry.model, entry.weights) for entry in cache.entries()] == [("model", "w8"), ("model", "stored")]
    assert all(entry.source == str(source) for entry in cache.entries())


def test_what_is_packed_quickly_is_not_kept(source: Path, cache: PackedCache) -> None:
    load(source, cache, worth_s=1e9)
    assert cache.entries() == []


# -- entries that are not what they should be --------------------------------------------------------------------------


def damage(source: Path, path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "a byte":
        path.write_bytes(content[:-100] + bytes([content[-100] ^ 4]) + content[-99:])
    elif how == "cut off":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "another format":
        path.write_bytes(b"GGUF" + content[4:])
    elif how == "writable by others":
        path.chmod(0o666)
    elif how == "a link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to(path.with_name("elsewhere"))
    elif how == "a newer model":
        os.utime(source / "model.safetensors", ns=(0, 12345))
    elif how == "a pipe":
        path.unlink()
        os.mkfifo(path, 0o600)


KINDS = ["a byte", "cut off", "empty", "another format", "writable by others", "a link", "a newer model", "a pipe"]


@pytest.mark.parametrize("how", KINDS)
def test_a_bad_entry_is_made_again(source: Path, cache: PackedCache, how: str) -> None:
    wanted = load(source, cache).logits(IDS)
    path = the_entry(cache)
    sound = path.read_bytes()
    damage(source, path, how)
    assert np.array_equal(load(source, cache).logits(IDS), wanted)
    status = path.lstat()
    assert path.is_file()
    assert not path.is_symlink()
    assert status.st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) >= len(sound) - 20
    written = stamp(path)
    load(source, cache)
    assert stamp(path) == written


def test_a_model_changed_behind_its_time_and_size_is_noticed(source: Path, cache: PackedCache) -> None:
    before = load(source, cache).logits(IDS)
    file = source / "model.safetensors"
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[-2000:-1000] = content[-1000:]
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = load(source, cache).logits(IDS)
    assert not np.array_equal(before, after)
    assert np.array_equal(after, nearlight.load(source, threads=1, cache=False).logits(IDS))


def test_another_layout_or_quantizer_makes_entries_stale(
    source: Path, cache: PackedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(source, cache)
    written = stamp(the_entry(cache))
    monkeypatch.setattr(packed, "layout_fingerprint", lambda: "another")
    load(source, cache)
    assert stamp(the_entry(cache)) != written
    package, ops = open_package(source), CpuOps(1)
    formats = requantization("w4")
    w4 = PackedModel(cache, package, ops, formats)
    monkeypatch.setattr(packed_model, "quantize", lambda format, values: values.astype(np.float16))
    assert PackedModel(cache, package, ops, formats).key != w4.key


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners are a matter of POSIX")
def test_entries_of_another_user_are_not_read(
    source: Path, cache: PackedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = load(source, cache).logits(IDS)
    path = the_entry(cache)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    assert cache.entries()[0].model == ""
    assert np.array_equal(load(source, cache).logits(IDS), wanted)
    assert path.exists()  # nor deleted: the directory is another's too


def test_a_directory_that_others_can_write_is_not_used(source: Path, cache: PackedCache) -> None:
    cache.directory.mkdir(mode=0o700)
    cache.directory.chmod(0o777)
    load(source, cache).logits(IDS)
    assert list(cache.directory.iterdir()) == []


# -- disks that do not want --------------------------------------------------------------------------------------------


def test_a_directory_that_cannot_be_made_is_no_failure(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    load(source, PackedCache(tmp_path / "file" / "packed", bound=1 << 30)).logits(IDS)
    load(source, PackedCache(tmp_path / "file", bound=1 << 30)).logits(IDS)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_a_full_disk_is_no_failure(
    source: Path, cache: PackedCache, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    load(source, cache).logits(IDS)
    monkeypatch.undo()
    assert [path.suffix for path in cache.directory.iterdir()] == []


def test_a_disk_with_too_little_room_is_left_alone(
    source: Path, cache: PackedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    load(source, cache).logits(IDS)
    assert cache.entries() == []


def test_writing_that_is_stopped_leaves_nothing(source: Path, cache: PackedCache) -> None:
    ops, package = CpuOps(1), open_package(source)
    kept = PackedModel(cache, package, ops)
    model = build_model(ops, package.config)
    bind(model, package, ops, kept=PackedModel(cache, package, ops, worth_s=1e9))
    (parameter, *_) = model.parameters()
    matrices = [(package.tensors[parameter.name].format, parameter.value)]
    assert not cache.write(kept.name, kept.key, matrices, stopped=lambda: True)
    assert list(cache.directory.iterdir()) == []
    assert cache.write(kept.name, kept.key, matrices, stopped=lambda: False)
    assert the_entry(cache).exists()


# -- size --------------------------------------------------------------------------------------------------------------


def test_what_was_not_used_for_longest_goes_first(source: Path, cache: PackedCache) -> None:
    sizes = {}
    for age, weights in ((30, "w8"), (10, "w6"), (20, "bf16")):
        load(source, cache, weights)
        path = next(cache.directory / e.name for e in cache.entries() if e.weights == weights)
        os.utime(path, (0, 1000 - age))
        sizes[weights] = path.stat().st_size
    load(source, cache, "w8")  # used: now the youngest
    small = PackedCache(cache.directory, bound=sum(sizes.values()))
    load(source, small, "w4")
    assert [entry.weights for entry in cache.entries()] == ["w4", "w8", "w6"]
    tiny = PackedCache(cache.directory, bound=100)
    load(source, tiny)
    assert [entry.weights for entry in cache.entries()] == ["w4", "w8", "w6"]  # too large to be kept at all


def test_the_bound_comes_from_the_disk(cache: PackedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 1000
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free})())
    unbounded = PackedCache(tmp_path / "not" / "there")
    assert unbounded.bound() == 200
    free = 10**15
    assert unbounded.bound() == 50_000_000_000


def test_drafts_of_the_dead_are_removed_and_those_of_the_living_are_not(source: Path, cache: PackedCache) -> None:
    cache.directory.mkdir(mode=0o700)
    dead, alive = cache.directory / "a.draft", cache.directory / "b.draft"
    dead.write_text("x")
    with alive.open("w") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert {draft.name: draft.state for draft in cache.drafts()} == {
            "a.draft": "unfinished",
            "b.draft": "being written",
        }
        load(source, cache)
        assert not dead.exists()
        assert alive.exists()


def test_settings_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache().directory == tmp_path / "nearlight" / "packed"
    monkeypatch.setenv("NEARLIGHT_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("NEARLIGHT_CACHE_BYTES", "12345")
    assert (default_cache().directory, default_cache().bound()) == (tmp_path / "own", 12345)
    monkeypatch.setenv("NEARLIGHT_CACHE_BYTES", "5 GB or so")
    with pytest.raises(RequestError, match=r"NEARLIGHT_CACHE_BYTES: expected a number of bytes, .* '5 GB or so'"):
        default_cache()


def test_only_kernels_that_pack_have_a_cache(source: Path) -> None:
    package = open_package(source)
    assert packed_model_of(package, make_ops("cpu", 1), requantization("w4")) is not None
    assert packed_model_of(package, make_ops("reference"), requantization("w4")) is None


# -- several processes -------------------------------------------------------------------------------------------------

_RACER = """
import sys, zlib
from pathlib import Path
from nearlight.loading.packed_cache import PackedCache
from tests.loading.test_packed_cache import IDS, load
source, directory = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(12):
    cache = PackedCache(directory, 1 << 30)
    print(zlib.crc32(load(source, cache, "w8").logits(IDS).tobytes()))
    if turn % 3 == 2:
        for entry in cache.entries():
            cache.remove(entry)
"""


def test_processes_that_race_all_end_well(source: Path, cache: PackedCache) -> None:
    """Two write, read and delete one entry at the same time."""
    wanted = load(source, cache, "w8").logits(IDS)
    cache.remove(cache.entries()[0])
    command = [sys.executable, "-c", _RACER, str(source), str(cache.directory)]
    pipe = subprocess.PIPE
    racers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    assert [racer.stdout.readline() for racer in racers if racer.stdout] == ["ready\n"] * 2
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.communicate()[0].split() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert len(answers[0]) == len(answers[1]) == 12
    assert len({*answers[0], *answers[1]}) == 1
    assert not list(cache.directory.glob("*.draft"))
    assert np.array_equal(load(source, cache, "w8").logits(IDS), wanted)


_LEAVER = """
import sys
from pathlib import Path
from nearlight.loading import packed_model
packed_model.WORTH_S = 0.0
import nearlight
nearlight.load(sys.argv[1], threads=1)
"""


def test_a_program_that_ends_at_once_still_leaves_an_entry(source: Path, cache: PackedCache) -> None:
    environment = os.environ | {"NEARLIGHT_CACHE": str(cache.directory)}
    subprocess.run([sys.executable, "-c", _LEAVER, str(source)], env=environment, check=True)
    assert [entry.model for entry in cache.entries()] == ["model"]
