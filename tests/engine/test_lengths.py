"""Rotations that depend on a sequence's length: as transformers generates, in any company, and whatever came before."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearlight
from nearlight.engine.engine import Engine
from nearlight.engine.sequence import Sequence
from tests.models.random_models import CONFIGS, relative_error, transformers_logits, write_model

TRAINED = 24
IDS = [int(i) for i in np.random.default_rng(8).integers(3, 103, 60)]


@pytest.fixture(scope="module", params=["phi3-longrope", "llama-dynamic"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("model")
    config = copy.deepcopy(CONFIGS[request.param])
    theirs = write_model(path, config)
    theirs.generation_config.eos_token_id = None
    return path, theirs


@pytest.fixture(params=["cpu", "reference"])
def engine(request: pytest.FixtureRequest, written: tuple[Path, Any]) -> Engine:
    return nearlight.load(written[0], backend=request.param, kv="f32", context=60).engine


def new(engine: Engine, tokens: list[int]) -> Sequence:
    sequence = engine.open()
    engine.extend(sequence, tokens)
    return sequence


def next_logits(engine: Engine, sequence: Sequence, max_rows: int = 512) -> np.ndarray:
    """Step until all pending tokens are computed; return the last one's logits."""
    found = None
    while sequence.n_pending:
        found = engine.step([sequence], max_rows).get(sequence)
    assert found is not None
    return found[-1]


def greedy(engine: Engine, prompts: list[list[int]], n: int, max_rows: int = 512) -> list[np.ndarray]:
    """Answer prompts together; return for each its answer's logits [n, V]."""
    sequences = [new(engine, prompt) for prompt in prompts]
    found: dict[Sequence, list[np.ndarray]] = {sequence: [] for sequence in sequences}
    while active := [each for each in sequences if len(found[each]) < n]:
        for sequence, logits in engine.step(active, max_rows).items():
            found[sequence].append(logits[-1])
            engine.extend(sequence, [int(logits[-1].argmax())])
    for sequence in sequences:
        engine.close(sequence)
    return [np.stack(found[sequence]) for sequence in sequences]


def same(engine: Engine, found: np.ndarray, wanted: np.ndarray) -> None:
    """Of the CPU's kernels, to the bit."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0 if engine.ops.name == "cpu" else 2e-5)


@pytest.mark.parametrize("n", [TRAINED - 1, TRAINED, TRAINED + 1, 60])
def test_logits_on_both_sides(engine: Engine, written: tuple[Path, Any], n: int) -> None:
    theirs = copy.deepcopy(written[1])  # it remembers the longest text
    found = engine.logits(new(engine, IDS[:n]))
    assert relative_error(found, transformers_logits(theirs, IDS[:n])) <= 1e-5


@pytest.mark.parametrize("n_prompt", [5, TRAINED - 6, TRAINED, TRAINED + 1, 40])
def test_answers_are_those_that_transformers_generates(
    engine: Engine, written: tuple[Path, Any], n_prompt: int
) -> None:
    theirs = copy.deepcopy(written[1])
    given = torch.tensor([IDS[:n_prompt]])
    wanted = theirs.generate(
        given, max_new_tokens=15, do_sample=False, return_dict_in_generate=True, output_logits=True
    )
    found = greedy(engine, [IDS[:n_prompt]], 15)[0]
    assert found.argmax(-1).tolist() == wanted.sequences[0, n_prompt:].tolist()
    assert relative_error(found, torch.cat(wanted.logits).numpy()) <= 1e-5


def test_company_and_chunks_change_nothing(engine: Engine) -> None:
    prompts = [IDS[:9], IDS[4:44], IDS[20 : 20 + TRAINED - 3]]
    for max_rows in (512, 7):
        together = greedy(engine, prompts, 12, max_rows)
        for found, prompt in zip(together, prompts, strict=True):
            same(engine, found, greedy(engine, [prompt], 12)[0])


def test_what_was_taken_back_never_was(engine: Engine) -> None:
    sequence = new(engine, IDS[:40])
    next_logits(engine, sequence)
    for n in (30, TRAINED - 4):
        engine.rewind(sequence, n)
        engine.extend(sequence, [7])
        same(engine, next_logits(engine, sequence), next_logits(engine, new(engine, [*IDS[:n], 7])))


def test_a_turn_is_answered_as_if_it_came_at_once(engine: Engine) -> None:
    sequence = new(engine, IDS[:10])
    next_logits(engine, sequence)
    engine.replace(sequence, IDS[:20])
    assert sequence.computed == 10
    for n in (20, 38, 50, 50, 21):
        engine.replace(sequence, IDS[:n])
        same(engine, next_logits(engine, sequence), next_logits(engine, new(engine, IDS[:n])))
    engine.replace(sequence, IDS[:21])
    assert sequence.computed == 20  # the same once more


def test_a_fork_goes_on_like_its_original(engine: Engine) -> None:
    sequence = new(engine, IDS[: TRAINED - 2])
    next_logits(engine, sequence)
    fork = engine.fork(sequence)
    for token in IDS[TRAINED - 2 : TRAINED + 3]:
        engine.extend(sequence, [token])
        engine.extend(fork, [token])
        same(engine, next_logits(engine, fork), next_logits(engine, sequence))


@pytest.mark.parametrize("n_prompt", [10, TRAINED - 5, TRAINED - 1, 35])
def test_drafted_tokens_see_what_tokens_one_by_one_see(engine: Engine, n_prompt: int) -> None:
    prompt = IDS[:n_prompt]
    wanted = greedy(engine, [prompt], 9)[0]
    tokens = wanted.argmax(-1).tolist()
    sequence = new(engine, prompt)
    found = [next_logits(engine, sequence)]
    engine.extend(sequence, tokens[:1])
    engine.draft(sequence, [*tokens[1:4], *tokens[:3]])  # three of them are right
    while sequence.n_pending:
        found += engine.step([sequence]).get(sequence, np.empty((0, 1))).tolist()
    same(engine, np.array(found[:5], np.float32), wanted[:5])
    engine.rewind(sequence, n_prompt + 4)
    engine.extend(sequence, tokens[4:5])
    same(engine, next_logits(engine, sequence), wanted[5])


def test_logits_wait_for_keys_that_are_computed_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = new(engine, IDS[:TRAINED])
    next_logits(engine, sequence)
    engine.extend(sequence, IDS[TRAINED : TRAINED + 2])
    with monkeypatch.context() as patch:
        patch.setattr(engine, "step", partial(engine.step, max_rows=5))
        found = engine.logits(sequence)
    assert len(found) == 2
    other = new(engine, IDS[:TRAINED])
    next_logits(engine, other)
    engine.extend(other, IDS[TRAINED : TRAINED + 2])
    same(engine, found[-1], next_logits(engine, other))


def test_an_interrupt_while_keys_are_computed_again_leaves_the_sequence(engine: Engine) -> None:
    wanted, sequence = [new(engine, IDS[:TRAINED]) for _ in range(2)]
    for each in (wanted, sequence):
        next_logits(engine, each)
        engine.extend(each, [9])
    program = engine._program

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    found: dict[Sequence, np.ndarray] = {}
    while sequence.n_pending:
        engine._program = interrupted  # type: ignore[assignment]
        with pytest.raises(KeyboardInterrupt):
            engine.step([sequence], max_rows=5)
        engine._program = program
        found = engine.step([sequence], max_rows=5)
    same(engine, found[sequence][-1], next_logits(engine, wanted))
