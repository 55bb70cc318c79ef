"""What becomes of packed weights can be asked: read, written, or not kept and why; a killed write is seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import nearlight
from nearlight.kernels.cpu import CpuOps
from nearlight.loading.binding import bind
from nearlight.loading.packed_cache import PackedCache
from nearlight.loading.packed_model import WORTH_BYTES, WORTH_S, PackedModel, PackedWeights
from nearlight.models import build_model
from nearlight.package import open_package
from tests.attacks.sound import write_sound_directory

BOUND = 1 << 30


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_sound_directory(tmp_path / "model")


def load(
    source: Path, directory: Path, times: Iterable[float] = (0.0, WORTH_S), bound: int | None = BOUND
) -> PackedWeights:
    """Load with a clock that shows these times before and after packing; return what became of the packed weights."""
    ops, package, clock = CpuOps(1), open_package(source), iter(times)
    kept = PackedModel(PackedCache(directory, bound), package, ops)
    bind(build_model(ops, package.config), package, ops, kept=kept, clock=lambda: next(clock))
    kept.finish()
    assert kept.outcome is not None
    return kept.outcome


def test_it_is_written_once_and_read_from_then_on(source: Path, tmp_path: Path) -> None:
    first = load(source, tmp_path / "packed")
    second = load(source, tmp_path / "packed", times=())
    assert (first.state, second.state) == ("written", "read")
    assert first.path == second.path
    assert first.path.is_file()
    assert 0 < first.n_bytes == second.n_bytes < first.path.stat().st_size


def test_it_is_kept_only_where_packing_took_long(source: Path, tmp_path: Path) -> None:
    quick = load(source, tmp_path / "packed", times=(5.0, 5.0 + WORTH_S - 0.01))
    assert (quick.state, quick.reason) == ("not kept", "packing took 2.0 s, which is not worth 61 kB")
    at_once = load(source, tmp_path / "packed", times=(5.0, 5.01))
    assert at_once.reason == "packing took under 0.1 s, which is not worth 61 kB"
    assert not (tmp_path / "packed").exists()
    assert load(source, tmp_path / "packed", times=(5.0, 5.0 + WORTH_S)).state == "written"


@pytest.mark.parametrize(("seconds", "worth"), [(1.9, False), (3 * WORTH_S - 0.1, False), (3 * WORTH_S, True)])
def test_more_disk_must_save_more_time(source: Path, tmp_path: Path, seconds: float, worth: bool) -> None:
    kept = PackedModel(PackedCache(tmp_path / "packed", bound=1), open_package(source), CpuOps(1))
    large: Any = SimpleNamespace(n_bytes=int(3 * WORTH_BYTES))
    kept.keep([(None, large)], seconds)  # type: ignore[list-item]
    assert kept.outcome is not None
    assert ("all together may take" in kept.outcome.reason) == worth
    assert ("is not worth" in kept.outcome.reason) != worth


def test_why_it_is_not_kept_can_be_asked(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert "file/packed cannot be made (Not a directory)" in load(source, tmp_path / "file" / "packed").reason
    assert load(source, tmp_path / "open").reason == f"{tmp_path}/open is not this user's alone"
    assert "and all together may take 0 B" in load(source, tmp_path / "packed", bound=0).reason
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    assert "and 1.0 kB are free" in load(source, tmp_path / "packed").reason
    monkeypatch.undo()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert load(source, tmp_path / "packed").reason == f"{tmp_path}/packed cannot be written"


def test_a_disk_that_is_full_in_the_end_is_told_too(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    outcome = load(source, tmp_path / "packed")
    assert (outcome.state, outcome.reason) == (
        "not kept",
        f"{tmp_path}/packed cannot be written (No space left on device)",
    )


def test_a_loaded_model_says_it(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARLIGHT_CACHE", str(tmp_path / "packed"))
    monkeypatch.setenv("NEARLIGHT_CACHE_BYTES", "0")
    assert nearlight.load(source, threads=1, cache=False).packed_weights is None
    weights = nearlight.load(source, threads=1).packed_weights
    assert weights is not None
    assert weights.state == "not kept"
    assert weights.path.parent == tmp_path / "packed"


_WRITER = """
import sys, threading
from nearlight.loading import packed_model
from nearlight.kernels.cpu import packed
whole = packed.write_packed

def half(*arguments):
    for done in whole(*arguments):
        yield done
        print("half", flush=True)
        threading.Event().wait()

packed.write_packed = half
packed_model.WORTH_S = 0.0
import nearlight
nearlight.load(sys.argv[1], threads=1)
"""


def test_a_killed_write_is_listed_and_cleared(source: Path, tmp_path: Path) -> None:
    environment = os.environ | {"NEARLIGHT_CACHE": str(tmp_path / "packed")}

    def cache(*arguments: str) -> Any:
        command = [sys.executable, "-m", "nearlight", "cache", *arguments, "--json"]
        return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)

    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(source)], env=environment, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        (living,) = cache()["entries"]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    (dead,) = cache()["entries"]
    assert (living["state"], dead["state"]) == ("being written", "unfinished")
    assert (dead["model"], dead["bytes"] > 0) == ("model", True)
    assert cache("clear")["deleted"] == [dead["name"]]
    assert list((tmp_path / "packed").iterdir()) == []
