"""Layers with a window give back what nobody will see again, and nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

import nearlight
from nearlight.engine.engine import Engine
from nearlight.engine.sequence import Sequence
from nearlight.errors import NearlightError
from nearlight.state import cache
from tests.models.random_models import SIZES, write_model

WINDOW, KEPT = 40, 300
IDS = [int(i) for i in np.random.default_rng(5).integers(3, 100, 1500)]


LONG: dict[str, Any] = {**SIZES, "hidden_size": 60, "max_position_embeddings": 2000}
MODELS = {
    "windows": transformers.Qwen2Config(**LONG, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1),
    "chunks": transformers.Llama4TextConfig(
        **LONG,
        head_dim=10,
        moe_layers=[],
        intermediate_size_mlp=26,
        no_rope_layers=[0, 1, 1],
        attention_chunk_size=WINDOW,
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with windows, or chunks, in two of three layers."""
    path = tmp_path_factory.mktemp("model")
    write_model(path, copy.deepcopy(MODELS[request.param]))
    return path


@pytest.fixture(params=["cpu", "reference"])
def model(
    directory: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[nearlight.LanguageModel]:
    monkeypatch.setattr(cache, "_KEPT_BEHIND", KEPT)
    return nearlight.load(directory, backend=request.param, threads=2)


def logits(engine: Engine, sequence: Sequence, ids: list[int]) -> np.ndarray:
    engine.extend(sequence, ids)
    return engine.logits(sequence)


def assert_same(engine: Engine, found: np.ndarray, ids: list[int]) -> None:
    """Compare logits after the last of `ids` with those of a cache that gives nothing back: of the CPU's the bits."""
    np.testing.assert_allclose(
        found, never_given_back(engine, ids, len(found)), rtol=0, atol=0 if engine.ops.name == "cpu" else 2e-5
    )


def never_given_back(engine: Engine, ids: list[int], n: int) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_KEPT_BEHIND", 1 << 30)
        sequence = engine.open()
        found = logits(engine, sequence, ids)[-n:]
        engine.close(sequence)
    return found


def test_what_windows_left_behind_is_given_back_and_was_not_needed(model: nearlight.LanguageModel) -> None:
    engine, sequence = model.engine, model.engine.open()
    first = engine.cache.n_bytes
    logits(engine, sequence, IDS[:1490])
    found = logits(engine, sequence, IDS[1490:])
    assert_same(engine, found, IDS)
    full, windowed = (store.n_bytes for store in list(engine.cache.stores)[:2])
    assert windowed <= 0.5 * full
    assert windowed >= (KEPT + WINDOW) * next(iter(engine.cache.stores)).token_bytes
    engine.close(sequence)
    assert engine.cache.n_bytes == first


@pytest.mark.parametrize("n_tokens", [5, KEPT + WINDOW, 700, 1023, 1024, 1500])
def test_bytes_counted_are_those_allocated(directory: Path, monkeypatch: pytest.MonkeyPatch, n_tokens: int) -> None:
    monkeypatch.setattr(cache, "_KEPT_BEHIND", KEPT)
    model = nearlight.load(directory)
    engine, sequence = model.engine, model.engine.open()
    logits(engine, sequence, IDS[: n_tokens // 3])
    logits(engine, sequence, IDS[n_tokens // 3 : n_tokens])
    assert model.counted.kv_bytes(n_tokens) == engine.cache.n_bytes


def test_going_back_as_far_as_is_kept_computes_nothing_again(model: nearlight.LanguageModel) -> None:
    engine, sequence = model.engine, model.engine.open()
    logits(engine, sequence, IDS)
    kept = len(IDS) - KEPT
    engine.rewind(sequence, kept)
    assert sequence.computed == kept
    found = logits(engine, sequence, [50, 51])
    assert_same(engine, found, [*IDS[:kept], 50, 51])


def test_going_back_further_computes_all_again(model: nearlight.LanguageModel) -> None:
    engine, sequence = model.engine, model.engine.open()
    logits(engine, sequence, IDS)
    engine.rewind(sequence, 600)
    assert (sequence.computed, sequence.n_pending) == (0, 600)
    found = logits(engine, sequence, [50, 51])[-2:]
    assert_same(engine, found, [*IDS[:600], 50, 51])


def test_an_interrupt_while_room_is_made_anew_leaves_nothing_behind(model: nearlight.LanguageModel) -> None:
    engine, sequence = model.engine, model.engine.open()
    logits(engine, sequence, IDS)
    engine.rewind(sequence, 600)
    store = list(engine.cache.stores)[-1]
    free = store.free

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    store.free = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        engine.step([sequence])
    store.free = free  # type: ignore[method-assign]
    found = logits(engine, sequence, [50, 51])[-2:]
    assert_same(engine, found, [*IDS[:600], 50, 51])


def test_a_fork_has_what_its_original_has(model: nearlight.LanguageModel) -> None:
    engine, sequence = model.engine, model.engine.open()
    logits(engine, sequence, IDS)
    fork = engine.fork(sequence)
    for each in (fork, sequence):
        engine.rewind(each, len(IDS) - KEPT)
        found = logits(engine, each, [50, 51])
        assert_same(engine, found, [*IDS[:-KEPT], 50, 51])
    engine.rewind(fork, 600)
    assert fork.computed == 0


def test_what_was_given_back_cannot_be_read(model: nearlight.LanguageModel) -> None:
    engine, sequence = model.engine, model.engine.open()
    logits(engine, sequence, IDS[:900])
    for store in engine.cache.stores:
        store.release(sequence.number, 600)
    engine.extend(sequence, [7])
    with pytest.raises(NearlightError, match=r"given back|released"):
        engine.step([sequence])
