"""Several engines in one process, used in turn and at once, and processes forked from one that has used them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path

import pytest

import nearlight
from nearlight.engine.language_model import LanguageModel
from tests.models.random_models import CONFIGS, write_model

PROMPT = [7, 3, 90, 41, 5, 66, 12]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    paths = []
    for name in ("qwen3", "gpt2"):
        paths.append(tmp_path_factory.mktemp(name))
        write_model(paths[-1], CONFIGS[name])
    return paths


def answer(model: LanguageModel, n_tokens: int = 40) -> list[int]:
    to_the_end = dict.fromkeys(model.stop_ids, -100.0)
    return model.generate(PROMPT, max_tokens=n_tokens, temperature=0.9, seed=5, logit_bias=to_the_end).token_ids


@pytest.fixture(scope="module")
def answers(directories: list[Path]) -> list[list[int]]:
    return [answer(nearlight.load(path, threads=1)) for path in directories]


@pytest.mark.parametrize("threads", [(1, 1), (2, 2), (3, 2)])
def test_two_models_take_turns(directories: list[Path], answers: list[list[int]], threads: tuple[int, int]) -> None:
    models = [nearlight.load(path, threads=n) for path, n in zip(directories, threads, strict=True)]
    for _ in range(2):
        assert [answer(model) for model in models] == answers


@pytest.mark.parametrize("threads", [(1, 1), (2, 2), (3, 2)])
def test_two_models_take_turns_token_by_token(directories: list[Path], threads: tuple[int, int]) -> None:
    models = [nearlight.load(path, threads=n) for path, n in zip(directories, threads, strict=True)]
    wanted = [model.generate(PROMPT, max_tokens=20, temperature=0).token_ids for model in models]
    sequences = [model.engine.open() for model in models]
    for model, sequence in zip(models, sequences, strict=True):
        model.engine.extend(sequence, PROMPT)
    for _ in range(20):
        for model, sequence in zip(models, sequences, strict=True):
            logits = model.engine.step([sequence])[sequence][-1]
            model.engine.extend(sequence, [int(logits.argmax())])
    assert [sequence.tokens[len(PROMPT) :] for sequence in sequences] == wanted


@pytest.mark.parametrize("threads", [(1, 1), (2, 2), (1, 3)])
def test_two_models_at_once_from_two_threads(
    directories: list[Path], answers: list[list[int]], threads: tuple[int, int]
) -> None:
    models = [nearlight.load(path, threads=n) for path, n in zip(directories, threads, strict=True)]
    found: list[list[list[int]]] = [[], []]
    start = threading.Barrier(2)

    def work(number: int) -> None:
        start.wait()
        for _ in range(4):
            found[number].append(answer(models[number]))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [[answers[0]] * 4, [answers[1]] * 4]


@needs_fork
@pytest.mark.parametrize("threads", [1, 3])
def test_forked_children_answer_as_their_parent(
    directories: list[Path], answers: list[list[int]], threads: int
) -> None:
    models = [nearlight.load(path, threads=threads) for path in directories]
    assert answer(models[0]) == answers[0]  # used before the fork; the second is not
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os._exit([answer(model) for model in models] != answers)
        children.append(child)
    assert [answer(model) for model in models] == answers  # at the same time
    for child in children:
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


@needs_fork
def test_a_forked_childs_conversation_goes_its_own_way(directories: list[Path], answers: list[list[int]]) -> None:
    """The cache is copied with the process: what the child computes does not reach the parent's."""
    model = nearlight.load(directories[0], threads=2)
    answer(model)
    child = os.fork()
    if child == 0:
        os._exit(model.generate([50, 51, 52], max_tokens=20).token_ids == [])
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    again = model.generate([*PROMPT, *answers[0][:30]], max_tokens=5, temperature=0)
    assert again.cached_tokens == len(PROMPT) + 29
    fresh = nearlight.load(directories[0], threads=1)
    assert again.token_ids == fresh.generate([*PROMPT, *answers[0][:30]], max_tokens=5, temperature=0).token_ids


@needs_fork
def test_multiprocessing_workers_answer_as_their_parent(directories: list[Path], answers: list[list[int]]) -> None:
    model = nearlight.load(directories[0], threads=2)
    answer(model)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    worker = context.Process(target=lambda: theirs.send([answer(model), answer(model)]))
    worker.start()
    assert ours.recv() == [answers[0]] * 2
    worker.join()
    assert worker.exitcode == 0
    assert answer(model) == answers[0]
