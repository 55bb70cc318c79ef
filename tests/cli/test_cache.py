"""`nearlight cache`: what is kept is shown, and cleared."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nearlight.dtypes import Q4_0
from nearlight.engine.packed_cache import PackedCache, entry_name
from nearlight.kernels.cpu import CpuOps
from nearlight.package.tensors import StoredTensor
from tests.cli.conftest import Command


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
