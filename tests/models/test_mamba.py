"""Mamba and Mamba-2 against transformers, and what a recurrence's state must stand: any chunks, going back, copies.

Models that have keys and values besides must stand the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

import nearlight
from nearlight.engine.engine import Engine
from nearlight.engine.sequence import Sequence
from nearlight.state.cache import RecurrentState
from tests.models.random_models import HYBRIDS, relative_error, transformers_logits, write_model

SIZES = {"vocab_size": 103, "hidden_size": 20, "num_hidden_layers": 3, "conv_kernel": 4}
CONFIGS: dict[str, Any] = {
    "mamba": transformers.MambaConfig(**SIZES, state_size=6, time_step_rank=3),
    "mamba-biases": transformers.MambaConfig(
        **SIZES, state_size=5, time_step_rank=2, expand=3, use_bias=True, use_conv_bias=False, tie_word_embeddings=False
    ),
    "mamba2": transformers.Mamba2Config(**SIZES, state_size=6, num_heads=5, head_dim=8, n_groups=1),
    "mamba2-groups": transformers.Mamba2Config(**SIZES, state_size=7, num_heads=4, head_dim=10, n_groups=2),
}
SAME = 5e-5
"""Products of other numbers of rows add up in another order; a state that is off by a row shows in the second digit."""
IDS = [int(i) for i in np.random.default_rng(5).integers(3, 103, 29)]


BACKENDS = ("reference", "cpu")


KEPT_BESIDE = ("lfm2", "nemotron_h", "falcon_h1", "granitemoehybrid", "qwen3_5", "qwen3_next")
ENGINES = [(name, backend) for name in CONFIGS for backend in BACKENDS]
ENGINES += [(name, "cpu") for name in KEPT_BESIDE] + [(name, "reference") for name in ("lfm2", "qwen3_5")]


@pytest.fixture(params=ENGINES, ids="-".join)
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Engine:
    name, backend = request.param
    write_model(tmp_path, {**CONFIGS, **HYBRIDS}[name])
    return nearlight.load(tmp_path, backend=backend).engine


def logits(engine: Engine, sequence: Sequence, ids: list[int]) -> np.ndarray:
    engine.extend(sequence, ids)
    return engine.logits(sequence)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_transformers(tmp_path: Path, name: str, backend: str) -> None:
    theirs = write_model(tmp_path, CONFIGS[name])
    model = nearlight.load(tmp_path, backend=backend)
    assert relative_error(model.logits(IDS), transformers_logits(theirs, IDS)) <= 1e-4


def test_chunks_of_any_size_equal_the_whole(engine: Engine) -> None:
    whole, sequence, found = logits(engine, engine.open(), IDS), engine.open(), []
    for start, stop in ((0, 1), (1, 2), (2, 9), (9, 10), (10, 29)):
        found.append(logits(engine, sequence, IDS[start:stop]))
    assert relative_error(np.concatenate(found), whole) <= SAME


def test_sequences_side_by_side_do_not_meet(engine: Engine) -> None:
    first, second = engine.open(), engine.open()
    engine.extend(first, IDS[:7])
    engine.extend(second, IDS[7:20])
    together = engine.step([first, second])
    for sequence, ids in ((first, IDS[:7]), (second, IDS[7:20])):
        assert relative_error(together[sequence], logits(engine, engine.open(), ids)[-1:]) <= SAME


@pytest.mark.parametrize("kept", range(8, 14))
def test_a_step_taken_back_to_any_of_its_rows_was_never_run(engine: Engine, kept: int) -> None:
    """Rows 8 … 12 are a draft's; those that are kept are computed again where the state has gone past them."""
    sequence = engine.open()
    logits(engine, sequence, IDS[:5])
    logits(engine, sequence, IDS[5:8])
    logits(engine, sequence, IDS[8:13])
    engine.rewind(sequence, kept)
    assert sequence.computed <= min(kept, 13) == len(sequence.tokens)
    assert sequence.computed == (13 if kept == 13 else 8)
    found = logits(engine, sequence, IDS[20:23])
    wanted = logits(engine, engine.open(), IDS[: min(kept, 13)] + IDS[20:23])
    assert relative_error(found[-3:], wanted[-3:]) <= SAME


def test_an_interrupted_step_leaves_the_state_before_it(engine: Engine) -> None:
    sequence = engine.open()
    logits(engine, sequence, IDS[:6])
    engine.extend(sequence, IDS[6:9])
    program, engine._program = engine._program, _failing(engine._program)
    with pytest.raises(KeyboardInterrupt):
        engine.step([sequence])
    engine._program = program
    assert (sequence.computed, engine.cache.length(sequence.number)) == (6, 6)
    wanted = logits(engine, engine.open(), IDS[:9])[-1:]
    assert relative_error(engine.step([sequence])[sequence], wanted) <= SAME


def test_after_an_interrupted_step_the_one_before_cannot_be_taken_back(engine: Engine) -> None:
    """What it began to write lies where the state before was: the answer comes from a copy, and is right."""
    sequence = engine.open()
    logits(engine, sequence, IDS[:5])
    logits(engine, sequence, IDS[5:6])
    program, engine._program = engine._program, _failing(engine._program)
    engine.extend(sequence, IDS[6:7])
    with pytest.raises(KeyboardInterrupt):
        engine.step([sequence])
    engine._program = program
    engine.rewind(sequence, 5)
    assert sequence.computed == 5
    wanted = logits(engine, engine.open(), IDS[:5] + IDS[10:12])[-2:]
    assert relative_error(logits(engine, sequence, IDS[10:12])[-2:], wanted) <= SAME


def _one_by_one(engine: Engine, sequence: Sequence, ids: list[int]) -> None:
    for id in ids:
        logits(engine, sequence, [id])


def _failing(program: Any) -> Any:
    def run(*arguments: Any) -> Any:
        program(*arguments)
        raise KeyboardInterrupt

    return run


def test_a_fork_goes_its_own_way(engine: Engine) -> None:
    sequence = engine.open()
    logits(engine, sequence, IDS[:6])
    copy = engine.fork(sequence)
    for each, ids in ((sequence, IDS[6:10]), (copy, IDS[10:15])):
        wanted = logits(engine, engine.open(), IDS[:6] + ids)[-len(ids) :]
        assert relative_error(logits(engine, each, ids), wanted) <= SAME


def test_what_continues_a_conversation_is_computed_alone(engine: Engine) -> None:
    sequence = engine.open()
    engine.replace(sequence, IDS[:9])
    assert sequence.computed == 0
    engine.logits(sequence)
    logits(engine, sequence, [44])
    engine.replace(sequence, [*IDS[:9], 44, *IDS[9:14]])
    assert sequence.computed == 10
    engine.logits(sequence)
    engine.replace(sequence, [*IDS[:9], 45, 46])
    assert sequence.computed == 9  # another answer to the first prompt
    wanted = logits(engine, engine.open(), [*IDS[:9], 45, 46])[-2:]
    assert relative_error(engine.logits(sequence), wanted) <= SAME


@pytest.mark.parametrize("n_held", [0, 3])
def test_a_sequence_may_be_held_at_any_length(engine: Engine, n_held: int) -> None:
    """As a benchmark does: its tokens are counted, nothing is computed, and it goes on."""
    sequence = engine.open()
    engine.cache.hold(sequence.number, n_held)
    sequence.tokens, sequence.computed = IDS[:n_held], n_held
    found = logits(engine, sequence, IDS[n_held:9])
    if not n_held:
        assert relative_error(found, logits(engine, engine.open(), IDS[:9])) <= SAME
    assert np.isfinite(found).all()


def test_what_is_held_is_come_back_to(engine: Engine) -> None:
    """As a benchmark does, again and again: what lies behind is not computed."""
    sequence = engine.open()
    engine.extend(sequence, IDS[:7])
    engine.cache.hold(sequence.number, 7)
    sequence.computed = 7
    found = []
    for _ in range(3):
        engine.rewind(sequence, 7)
        assert sequence.computed == 7
        found += [logits(engine, sequence, [id]) for id in IDS[7:11]]
    np.testing.assert_array_equal(found[:4], found[8:])


def test_a_prompt_whose_last_step_has_one_row_is_come_back_to(engine: Engine) -> None:
    sequence = engine.open()
    engine.extend(sequence, IDS[:9])
    while sequence.n_pending:
        engine.step([sequence], 4)
    for id in IDS[9:13]:
        logits(engine, sequence, [id])
    engine.rewind(sequence, 9)
    assert sequence.computed == 9


def test_steps_after_rejections_leave_the_copies_of_prompts(engine: Engine) -> None:
    sequence = engine.open()
    logits(engine, sequence, IDS[:9])
    for step in range(6):
        engine.extend(sequence, [IDS[9 + step]])
        engine.draft(sequence, IDS[20:22])
        engine.step([sequence])
        engine.rewind(sequence, 10 + step)
    logits(engine, sequence, IDS[15:16])
    engine.rewind(sequence, 9)
    assert sequence.computed == 9


def test_the_state_does_not_grow(engine: Engine) -> None:
    sequence = engine.open()
    logits(engine, sequence, IDS[:1])

    def n_bytes() -> int:
        return sum(engine.cache.recurrent(state).n_bytes for state in engine.model.declared(RecurrentState))

    once = n_bytes()
    for id in IDS[1:9]:
        logits(engine, sequence, [id])
    assert n_bytes() == once > 0
    engine.close(sequence)
    assert engine.cache.n_bytes == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_bytes_counted_are_those_allocated(tmp_path: Path, name: str, backend: str) -> None:
    write_model(tmp_path, CONFIGS[name])
    model = nearlight.load(tmp_path, backend=backend)
    cache, sequence = model.engine.cache, model.engine.open()
    logits(model.engine, sequence, IDS[:1])
    once = cache.n_bytes
    assert model.counted.kv_bytes(1) == once
    decode = model.counted.decode(5)
    assert decode.kv_read_bytes == decode.bytes_written == once // 2
    for start in range(1, 29, 4):
        logits(model.engine, sequence, IDS[start : start + 4])
    assert model.counted.kv_bytes(29) == model.counted.kv_bytes(1000) == cache.n_bytes == 3 * once  # four copies
    assert model.counted.kv_bytes_per_token == 0


@pytest.mark.parametrize("name", HYBRIDS)
def test_bytes_beside_keys_and_values_are_counted(tmp_path: Path, name: str) -> None:
    write_model(tmp_path, HYBRIDS[name])
    model = nearlight.load(tmp_path)
    for n_tokens in (1, 9, 29):
        sequence, sizes = model.engine.open(), (n_tokens - 8, 2, 2, 2, 2) if n_tokens > 8 else (n_tokens,)
        for size in sizes:
            logits(model.engine, sequence, IDS[:size])
        assert model.counted.kv_bytes(n_tokens) == model.engine.cache.n_bytes
        model.engine.close(sequence)
    states = sum(4 * state.size for state in model.engine.model.declared(RecurrentState))
    decode = model.counted.decode(5)
    assert decode.kv_read_bytes == states + 6 * model.counted.kv_bytes_per_token
    assert decode.bytes_written == states + model.counted.kv_bytes_per_token


def test_bits_depend_on_no_chunks_and_no_threads(tmp_path: Path) -> None:
    """On the CPU kernels, as with attention: greedy answers must not hang on how a prompt was cut."""
    for name in ("mamba", "mamba2-groups", "qwen3_5_moe", "qwen3_next"):
        write_model(tmp_path / name, {**CONFIGS, **HYBRIDS}[name])
        whole = nearlight.load(tmp_path / name, threads=1).logits(IDS)
        for threads in (1, 2, 3):
            engine = nearlight.load(tmp_path / name, threads=threads).engine
            sequence, found = engine.open(), []
            for start, stop in ((0, 1), (1, 2), (2, 9), (9, 10), (10, 29)):
                found.append(logits(engine, sequence, IDS[start:stop]))
            np.testing.assert_array_equal(np.concatenate(found), whole)


def test_a_long_prompt_does_not_push_out_the_ends_of_those_before(engine: Engine) -> None:
    """Its parts are no places to come back to: another second message goes on from the end of the first."""
    sequence = engine.open()
    engine.replace(sequence, IDS[:5])
    engine.step([sequence])
    engine.replace(sequence, IDS[:25])
    while sequence.n_pending:
        engine.step([sequence], max_rows=3)
    engine.replace(sequence, [*IDS[:5], 90, 91])
    assert sequence.computed == 5


@pytest.mark.parametrize("n_calls", [1, 2, 4])
def test_an_interrupt_while_a_step_is_taken_in_mixes_no_states(
    engine: Engine, n_calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between two recurrences: all are of one step afterwards."""
    sequence = engine.open()
    logits(engine, sequence, IDS[:4])
    states = list(engine.model.declared(RecurrentState))
    store = engine.cache.recurrent(states[1])
    calls, use = iter(range(n_calls)), type(store).use

    def interrupted(store: Any, sequence: int, place: int) -> None:
        if next(calls, None) is None:
            monkeypatch.undo()
            raise KeyboardInterrupt
        use(store, sequence, place)

    monkeypatch.setattr(type(store), "use", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _one_by_one(engine, sequence, IDS[4:8])
    engine.rewind(sequence, sequence.computed)
    wanted = logits(engine, engine.open(), IDS[: sequence.computed] + IDS[20:22])[-2:]
    sequence.tokens[:] = sequence.tokens[: sequence.computed]
    assert relative_error(logits(engine, sequence, IDS[20:22])[-2:], wanted) <= SAME


def test_an_interrupt_between_two_recurrences_on_the_way_back_mixes_nothing(engine: Engine) -> None:
    sequence = engine.open()
    logits(engine, sequence, IDS[:6])
    for token in IDS[6:9]:
        logits(engine, sequence, [token])
    recurrence = list(engine.cache._recurrences.values())[-1]
    copy = recurrence.copy

    def interrupted(*_: int) -> None:
        raise KeyboardInterrupt

    recurrence.copy = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        engine.rewind(sequence, 7)
    recurrence.copy = copy  # type: ignore[method-assign]
    assert sequence.computed == 9
    wanted = logits(engine, engine.open(), [*IDS[:9], 44])[-1:]
    assert relative_error(logits(engine, sequence, [44])[-1:], wanted) <= SAME


def test_checks_of_drafts_leave_the_copy_of_the_prompt(engine: Engine) -> None:
    sequence = engine.open()
    engine.extend(sequence, IDS[:6])
    engine.step([sequence])
    for _ in range(6):  # rounds in which every draft is right
        engine.extend(sequence, [40])
        engine.draft(sequence, [41, 42])
        assert len(engine.step([sequence])[sequence]) == 3
    engine.replace(sequence, [*IDS[:6], 50])
    assert sequence.computed == 6


def test_rejected_drafts_are_never_seen(engine: Engine) -> None:
    sequence, tokens = engine.open(), IDS[:6]
    engine.extend(sequence, tokens)
    engine.step([sequence])
    for n_right in (1, 0, 2, 0):
        guesses = [60 + n_right, 61, 62]
        engine.extend(sequence, [50])
        engine.draft(sequence, guesses)
        engine.step([sequence])
        tokens = [*tokens, 50, *guesses[:n_right]]
        engine.rewind(sequence, len(tokens))
        assert sequence.tokens == tokens
    wanted = logits(engine, engine.open(), [*tokens, 44])[-1:]
    assert relative_error(logits(engine, sequence, [44])[-1:], wanted) <= SAME
