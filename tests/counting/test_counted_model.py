"""What is counted equals what the CPU engine allocates and does: bytes, cache, arena, and the names of its commands."""

from __future__ import annotations

import numpy as np
import pytest

from nearlight.counting.counted_model import CountedModel, shape_tensor
from nearlight.dtypes import ALL, F16, F32, Q4_0, Q8_0, Format
from nearlight.engine.completion import Completion, Timing
from nearlight.engine.engine import Engine
from nearlight.engine.language_model import LanguageModel
from nearlight.errors import PackageError, RequestError
from nearlight.kernels.count import cpu_target
from nearlight.kernels.cpu import CpuOps
from nearlight.limits.hardware import Hardware
from nearlight.limits.roofline import steps_time
from nearlight.machine import hardware, probe
from nearlight.models import build_model
from nearlight.models.model import Model
from nearlight.package.package import Package
from nearlight.package.tensors import StoredTensor
from tests.kernels.counted_models import CONFIGS, DELTA_NET, HYBRIDS, LLAMA, counted

MODELS = {**CONFIGS, **HYBRIDS, "qwen3_5": DELTA_NET}


def zeros(tensor: StoredTensor) -> StoredTensor:
    data = np.zeros((tensor.n_rows, tensor.format.row_bytes(tensor.row_length)), np.uint8)
    return StoredTensor.from_bytes(tensor.name, tensor.format, tensor.shape, data)


def bound_model(ops: CpuOps, name: str, format: Format) -> Model:
    model = build_model(ops, MODELS[name])
    for parameter in model.parameters():
        parameter.bind(ops, zeros(shape_tensor(parameter, format)))
    return model


def allocated_bytes(model: Model) -> int:
    kept = (p for p in model.parameters() if not p.is_table)
    return sum(p.value.n_bytes if p.is_matrix else 4 * p.value.size for p in kept)


@pytest.mark.parametrize("format", ALL, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_counted_weights_are_the_allocated_ones(name, format):
    ops = CpuOps(1)
    assert counted(MODELS[name], format, target=cpu_target(ops.isa)).weight_bytes == allocated_bytes(
        bound_model(ops, name, format)
    )


def test_packed_tiles_are_counted():
    test_counted_weights_are_the_allocated_ones("llama", Q4_0)


@pytest.mark.parametrize("kv_format", [F16, Q8_0, F32], ids=str)
@pytest.mark.parametrize("n_tokens", [1, 256, 257])
@pytest.mark.parametrize("name", CONFIGS)
def test_counted_cache_is_the_allocated_one(name, n_tokens, kv_format):
    ops = CpuOps(1)
    engine = Engine(bound_model(ops, name, F32), ops, kv_format=kv_format)
    engine.cache.extend(engine.cache.open(), n_tokens)
    model = counted(CONFIGS[name], kv_format=kv_format, target=cpu_target(ops.isa))
    assert model.kv_bytes(n_tokens) == engine.cache.n_bytes
    assert (
        model.kv_bytes_per_token == engine.cache.bytes_per_token == engine.cache.n_bytes / (256 * -(-n_tokens // 256))
    )


@pytest.mark.parametrize("format", [F32, Q8_0], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_counted_activations_are_the_arena(name, format):
    ops = CpuOps(1)
    engine = Engine(bound_model(ops, name, format), ops)
    sequence = engine.open()
    engine.extend(sequence, [1] * 512)
    engine.step([sequence])
    assert counted(MODELS[name], format, target=cpu_target(ops.isa)).activation_bytes(512) == pytest.approx(
        ops.runtime.arena_bytes, rel=0.03
    )


@pytest.mark.parametrize("name", MODELS)
def test_ledger_has_the_names_of_the_tape(name):
    ops = CpuOps(1)
    model = bound_model(ops, name, Q8_0)
    engine = Engine(model, ops)
    sequence = engine.open()
    engine.extend(sequence, [1, 2, 3])
    engine.step([sequence])
    tape = next(iter(engine._program._recordings.values())).tape
    names = {name for name, _ in tape.profile()} - {"quantize", "sort pairs"}
    assert set(counted(MODELS[name], Q8_0).prefill(3)[0].by_name()) == names


def package_of(config: dict, formats: dict[str, Format], without: str = "") -> Package:
    model = counted(config)
    tensors = {p.name: shape_tensor(p, formats.get(p.name, F16)) for p in model.model.parameters() if p.name != without}
    return Package(source="small", kind="test", name="small", config=config, tensors=tensors)


def test_a_delta_rule_reads_and_writes_its_state_once_and_multiplies_it_four_times():
    rule = counted(DELTA_NET).decode(1000, batch=2).by_name()["gated_delta_rule"]
    state = 6 * 10 * 22
    assert rule.kv_read_bytes == rule.bytes_written == 2 * 2 * 4 * state  # layers, sequences
    assert rule.operations == {"fp32": 2 * 2 * 7 * state}
    assert rule.weight_bytes == 2 * 2 * 6 * 4


def test_package_is_counted_in_its_stored_bits():
    mixed = CountedModel.of_package(package_of(LLAMA, {"lm_head.weight": Q8_0}))
    plain = counted(LLAMA, F16)
    by_name = mixed.decode(0).by_name()
    assert by_name["lm_head.weight"].weight_bytes == 103 * 2 * 34
    assert mixed.weight_bytes == plain.weight_bytes - 103 * 42 * 2 + 103 * 2 * 34


def test_package_is_counted_as_if_requantized():
    package = package_of(LLAMA, {})
    assert CountedModel.of_package(package, "w8").weight_bytes == counted(LLAMA, Q8_0).weight_bytes
    with pytest.raises(RequestError, match="weights: expected one of bf16, w8, w6, w4, found 'w5'"):
        CountedModel.of_package(package, "w5")


def test_package_without_a_head_is_tied():
    model = CountedModel.of_package(package_of(LLAMA, {}, without="lm_head.weight"))
    assert model.parameters.lm_head == 0


def test_missing_tensor_is_named():
    with pytest.raises(PackageError, match=r"model\.norm\.weight is missing"):
        CountedModel.of_package(package_of(LLAMA, {}, without="model.norm.weight"))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("weights", [None, "w4"])
def test_limit_of_a_running_model_is_the_counted_one(name, weights, monkeypatch):
    ops = CpuOps(1)
    engine = Engine(bound_model(ops, name, Q8_0), ops)
    model = LanguageModel(package_of(CONFIGS[name], {}), engine, weights=weights)
    monkeypatch.setattr(probe, "read_bytes_per_s", lambda threads, fresh=False: 2e9)
    monkeypatch.setattr(hardware, "cache_bytes", lambda threads: 0)
    monkeypatch.setattr(probe, "known_ceilings", lambda threads: None)
    limit = model.limits()
    step = CountedModel.of_package(model.package, weights, target=cpu_target(ops.isa)).decode(19)
    assert limit.bytes_at(19) == step.bytes_read + step.bytes_written
    assert limit.tokens_per_s(19) == 2e9 / limit.bytes_at(19)
    assert limit.prefill_tokens_per_s(7, 0, 4) is None


def test_the_limit_of_an_answer_is_probed_beside_it_once(monkeypatch):
    ops = CpuOps(1)
    model = LanguageModel(package_of(LLAMA, {}), Engine(bound_model(ops, "llama", Q8_0), ops))
    asked = []

    def glance(threads, source):
        asked.append((threads, source))
        return 90e9

    monkeypatch.setattr(probe, "read_bytes_per_s", lambda threads, fresh=False: 2e9)
    monkeypatch.setattr(hardware, "cache_bytes", lambda threads: 1 << 30)
    monkeypatch.setattr(probe, "cache_bytes_per_s", lambda threads, fresh=False: 70e9)
    monkeypatch.setattr(hardware, "glance", glance)
    short, answer = (
        Completion(token_ids=list(range(n)), timing=Timing(decode_s=1.0, decode_steps=n - 1)) for n in (19, 20)
    )
    assert model.limits(after=short) == model.limits()
    assert asked == []
    limit = model.limits(after=answer)
    assert (limit.bytes_per_s(9), limit.beside) == (90e9, True)
    assert model.limits(after=answer) is limit  # /stats tells what the closing line told
    assert asked == [(1, "cache")] * 2
    assert not model.limits().beside


def test_limit_of_a_prompt_is_that_of_its_chunks(monkeypatch):
    ops = CpuOps(1)
    model = LanguageModel(package_of(LLAMA, {}), Engine(bound_model(ops, "llama", Q8_0), ops))
    peaks = {"fp32": 1e9, "bf16": 2e9, "int8": 3e9}
    monkeypatch.setattr(probe, "read_bytes_per_s", lambda threads, fresh=False: 2e9)
    monkeypatch.setattr(hardware, "cache_bytes", lambda threads: 0)
    monkeypatch.setattr(probe, "known_ceilings", lambda threads: probe.Ceilings(threads, 2e9, peaks))
    machine = Hardware("m", "cpu", 1, 2e9, peaks, "by hand")
    steps = model.counted.prefill(7, 4, 3)
    assert len(steps) == 2
    assert model.limits().prefill_tokens_per_s(7, 3, 4) == pytest.approx(7 / steps_time(steps, machine).total_s)
    assert model.limits().prefill_tokens_per_s(0, 3, 4) is None
