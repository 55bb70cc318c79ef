"""Rows hold what was predicted and what was measured."""

from __future__ import annotations

import pytest

from nearlight.bench.measure import Bench
from nearlight.bench.model import setting_of
from nearlight.bench.prediction import Predictor
from nearlight.bench.runner import OwnRunner, Workload
from nearlight.bench.steady import Repeater
from nearlight.counting.counted_model import CountedModel
from nearlight.kernels.count import cpu_target
from tests.bench.test_prediction import MACHINE
from tests.bench.tiny import tiny


@pytest.fixture(scope="module")
def counted() -> CountedModel:
    return tiny("w8").counted(cpu_target("avx512"))


def test_rows_hold_what_was_predicted_and_measured(counted: CountedModel) -> None:
    model = tiny("w8")
    engine = model.engine(1)
    own = OwnRunner(engine, "w8", chunk=16)
    predictor = Predictor(counted, MACHINE)
    flips = iter([3e5, 1e6, 1e6, 1e6, 1e6, 1e6, 1e6])
    stored = predictor.predict_all([Workload(n_prompt=40), Workload(n_gen=2)], [16], 3e5)
    bench = Bench(
        setting_of(model, engine, counted), predictor, stored, own, Repeater(lambda: next(flips), lambda: 0.0)
    )
    (row,) = bench.run(Workload(n_prompt=40), 3)
    own.close()
    assert row.adjusted == predictor.predict(Workload(n_prompt=40), 16, 1e6)
    assert row.prediction is stored[Workload(n_prompt=40), 16]
    assert row.prediction == predictor.predict(Workload(n_prompt=40), 16, 3e5) != row.adjusted
    assert (len(row.discarded), row.unsteady) == (1, None)
    assert (row.engine, row.chunk, len(row.samples_ns)) == ("nearlight", 16, 3)
    assert row.setting.model_size == counted.weight_bytes
    assert row.setting.n_params == counted.parameters.total


def test_the_fastest_chunk_is_chosen(counted: CountedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnRunner(tiny("w8").engine(1), "w8")
    setting = setting_of(tiny("w8"), own.engine, counted)
    bench = Bench(setting, Predictor(counted, MACHINE), {}, own, Repeater(lambda: 1e6))
    monkeypatch.setattr(own, "prepare", lambda workload: None)
    monkeypatch.setattr(own, "run", lambda: {128: 9, 256: 5, 300: 7}[own.chunk])
    assert bench.choose_chunk(Workload(n_prompt=300)) == own.chunk == 256
