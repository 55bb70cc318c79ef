"""`nearlight cache`: what is kept is shown, and cleared."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pexpect
import pytest

from nearlight.cli.cache import kept_line
from nearlight.dtypes import Q4_0
from nearlight.kernels.cpu import CpuOps
from nearlight.loading.packed_cache import PackedCache, entry_name
from nearlight.loading.packed_model import PackedWeights
from nearlight.package.tensors import StoredTensor
from tests.cli.conftest import ROOT, Command


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A cache of two models, "alpha" used last, and a file that is no entry."""
    import numpy as np

    directory = tmp_path / "packed"
    cache = PackedCache(directory, bound=1 << 20)
    matrix = CpuOps(1).matrix(StoredTensor.from_bytes("w", Q4_0, (32, 64), np.zeros((32, 36), np.uint8)))
    for age, model in ((50, "beta"), (0, "alpha")):
        name = entry_name(model, "w4", [tmp_path / model])
        key = {"model": model, "source": str(tmp_path / model), "weights": "w4"}
        assert cache.write(name, key, [(Q4_0, matrix)])
        os.utime(directory / name, (0, 1_700_000_000 - age))
    (directory / "torn.packed").write_bytes(b"nearpack")
    os.utime(directory / "torn.packed", (0, 1_600_000_000))
    return directory


def test_an_empty_cache_says_where_it_would_be(nearlight: Command, tmp_path: Path) -> None:
    result = nearlight("cache")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == f"no packed weights are kept in {tmp_path}/cache/nearlight/packed\n"


def test_entries_are_listed_last_used_first(nearlight: Command, kept: Path) -> None:
    result = nearlight("cache", NEARLIGHT_CACHE=str(kept), NEARLIGHT_CACHE_BYTES="2000000")
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["model", "weights"], ["alpha", "w4"], ["beta", "w4"], ["torn.packed", "damaged"]
    ]  # fmt: skip
    assert f"of at most 2.0 MB in {kept}" in result.stderr


def test_json_has_bytes(nearlight: Command, kept: Path) -> None:
    shown = json.loads(nearlight("cache", "--json", NEARLIGHT_CACHE=str(kept)).stdout)
    assert shown["directory"] == str(kept)
    assert [entry["model"] for entry in shown["entries"]] == ["alpha", "beta", ""]
    sizes = [entry["bytes"] for entry in shown["entries"]]
    assert sizes == [(kept / entry["name"]).stat().st_size for entry in shown["entries"]]
    assert shown["total_bytes"] == sum(sizes)
    assert shown["entries"][0]["last_used"] == 1_700_000_000


def test_one_model_is_cleared_by_name_or_path(nearlight: Command, kept: Path) -> None:
    result = nearlight("cache", "clear", "alpha", NEARLIGHT_CACHE=str(kept))
    assert result.returncode == 0
    assert result.stdout.startswith("packed weights: 1 deleted, ")
    freed = json.loads(
        nearlight("cache", "clear", str(kept.parent / "beta"), "--json", NEARLIGHT_CACHE=str(kept)).stdout
    )
    assert len(freed["deleted"]) == 1
    assert freed["freed_bytes"] > 0
    assert [path.name for path in kept.iterdir()] == ["torn.packed"]


def test_everything_is_cleared(nearlight: Command, kept: Path) -> None:
    (kept / "somebody's.txt").write_text("not ours")
    assert nearlight("cache", "clear", NEARLIGHT_CACHE=str(kept)).stdout.startswith("packed weights: 3 deleted, ")
    assert [path.name for path in kept.iterdir()] == ["somebody's.txt"]


def test_mistakes_are_told_in_one_line(nearlight: Command, kept: Path) -> None:
    for arguments, words in (
        (("clear", "gamma"), "expected one of alpha, beta, torn.packed, found 'gamma'"),
        (("list", "alpha"), "too many words"),
        (("wipe",), "wipe"),
    ):
        result = nearlight("cache", *arguments, NEARLIGHT_CACHE=str(kept))
        assert result.returncode == 2
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1
    result = nearlight("cache", NEARLIGHT_CACHE_BYTES="lots")
    assert result.returncode == 2
    assert "NEARLIGHT_CACHE_BYTES: expected a number of bytes" in result.stderr


def test_run_without_the_cache_leaves_none(nearlight: Command, chat_model: Path, tmp_path: Path) -> None:
    result = nearlight("run", str(chat_model), "Hello", "-n", "2", "--no-cache", NEARLIGHT_CACHE=str(tmp_path / "kept"))
    assert result.returncode == 0
    assert not (tmp_path / "kept").exists()


_ALWAYS_KEPT = """
import sys
from nearlight.loading import packed_model
packed_model.WORTH_S = 0.0
from nearlight.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_terminal_is_told_once_that_they_are_written(
    environment: dict[str, str], chat_model: Path, tmp_path: Path
) -> None:
    def run(*options: str) -> str:
        arguments = ["-c", _ALWAYS_KEPT, "run", str(chat_model), "Hello", "-n", "2", *options]
        child = pexpect.spawn(
            sys.executable, arguments, encoding="utf-8", dimensions=(30, 200), timeout=None, cwd=ROOT,
            env=environment | {"NEARLIGHT_CACHE": str(tmp_path / "kept")},
        )  # fmt: skip
        child.expect(pexpect.EOF)
        return " ".join(str(child.before).split())  # however it was broken into rows

    said = f"kB of packed weights in {tmp_path}/kept (off: --no-cache)"
    assert said not in run("--quiet", "--weights", "w8")
    first = run()
    assert first.count("packed weights") == 1
    assert said in first
    assert "packed weights" not in run()
    assert "packed weights: " in run("-v")


def test_verbose_says_why_they_are_not_kept(nearlight: Command, chat_model: Path, tmp_path: Path) -> None:
    arguments = ("run", str(chat_model), "Hello", "-n", "2")
    where = {"NEARLIGHT_CACHE": str(tmp_path / "kept"), "NEARLIGHT_CACHE_BYTES": "0"}
    assert "packed weights are not kept: " in nearlight(*arguments, "-v", **where).stderr
    assert "packed weights" not in nearlight(*arguments, **where).stderr


def test_what_is_said() -> None:
    path = Path("/kept/a.packed")
    assert kept_line(None, verbose=True) is None
    home = PackedWeights("writing", Path.home() / ".cache/nearlight/packed/a.packed", 3_000_000)
    assert (
        kept_line(home, verbose=False)
        == "keeping 3.0 MB of packed weights in ~/.cache/nearlight/packed (off: --no-cache)"
    )
    assert kept_line(PackedWeights("read", path, 5), verbose=False) is None
    assert kept_line(PackedWeights("not kept", path, 5, "no room"), verbose=False) is None
    said = "packed weights are not kept: no room"
    assert kept_line(PackedWeights("not kept", path, 5, "no room"), verbose=True) == said
    assert "3.0 MB read from /kept/a.packed" in str(kept_line(PackedWeights("read", path, 3_000_000), verbose=True))
