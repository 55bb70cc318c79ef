"""Memory that a model is predicted to take, and what this process holds."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest

from nearlight.bench.memory import own_bytes, predict_memory, release
from nearlight.bench.model import target_of
from nearlight.bench.runner import Workload
from tests.bench.tiny import tiny


def test_memory_is_predicted_for_the_largest_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("w8")
    counted = model.counted(target_of(model.engine(1)))
    found = predict_memory(counted, [Workload(n_prompt=40), Workload(n_gen=3, n_depth=600)], chunk=32)
    assert found is not None
    assert found.kv == counted.kv_bytes(603)
    assert found.activations == counted.activation_bytes(32) > counted.activation_bytes(1)
    assert found.predicted == found.before + found.weights + found.kv + found.activations
    monkeypatch.setattr("nearlight.bench.memory.own_bytes", lambda: None)
    assert predict_memory(counted, [Workload(n_gen=1)], chunk=32) is None


def test_models_that_are_no_longer_used_are_let_go() -> None:
    engine = tiny().engine(1)
    model = weakref.ref(engine.model)
    del engine
    release()
    assert model() is None


def test_memory_of_this_process_is_read_where_it_is_told(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("VmRSS:\t  900 kB\nRssAnon:\t     70 kB\nRssFile:\t 830 kB\n")
    assert own_bytes(status) == 70 * 1024
    status.write_text("VmRSS:\t  900 kB\n")
    assert own_bytes(status) is None
    assert own_bytes(tmp_path / "missing") is None
